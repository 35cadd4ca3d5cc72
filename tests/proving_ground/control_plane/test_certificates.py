from __future__ import annotations

import stat

from cryptography import x509
from cryptography.x509.oid import NameOID

from proving_ground.control_plane import certificates


def read(path):
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_a_client_is_signed_by_the_cluster_s_ca_and_named(tmp_path):
    files = certificates.write(tmp_path, "dev", ["admin"])
    client = read(files.certificate("admin"))
    client.verify_directly_issued_by(read(files.ca))
    assert client.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "admin"
    assert client.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value == "system:masters"


def test_the_server_s_certificate_holds_for_loopback(tmp_path):
    files = certificates.write(tmp_path, "dev", [])
    names = read(files.certificate("server")).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert [str(one) for one in names.value.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]


def test_keys_are_for_their_owner_alone(tmp_path):
    files = certificates.write(tmp_path, "dev", ["admin"])
    assert stat.S_IMODE(files.key("admin").stat().st_mode) == 0o600
