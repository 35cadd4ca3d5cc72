# Airflow with the rotation in it. `docker compose build` makes it; README.md says how to use it.
# The build stage and the image share one base, so that the environment can be copied as it is.
FROM python:3.11-slim AS base
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

FROM base AS build
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
# The lock first: the layer is built again only when the lock changes.
COPY requirements.lock /src/
RUN pip install --no-deps --require-hashes -r /src/requirements.lock
COPY pyproject.toml README.md /src/
COPY include /src/include
# Built with the lock's setuptools: nothing that is not pinned comes in.
RUN pip install --no-deps --no-build-isolation /src

FROM base
ENV PATH=/opt/venv/bin:$PATH \
    AIRFLOW_HOME=/opt/airflow \
    AIRFLOW__CORE__LOAD_EXAMPLES=False \
    NODE_ROTATION_FLEET=/opt/airflow/config/fleet.yaml
RUN useradd --uid 50000 --gid 0 --home-dir /opt/airflow --create-home airflow \
    && mkdir -p /opt/airflow/logs /opt/airflow/auth /opt/airflow/config \
    && chown -R airflow:0 /opt/airflow
COPY --from=build /opt/venv /opt/venv
COPY --chown=airflow:0 dags /opt/airflow/dags
COPY --chown=airflow:0 plugins /opt/airflow/plugins
USER airflow
WORKDIR /opt/airflow
ENTRYPOINT ["airflow"]
CMD ["version"]
