"""The names that DAGs, operators, triggers and tests share."""

from __future__ import annotations

from datetime import timedelta

DRIFT_CHECK = "ami_drift_check"
ROTATE_NODES = "rotate_nodes"
SWEEP_RESIDUE = "sweep_residue"

OWNER = "node-rotation"
TAG = "node-rotation"

DRIFT_ASSET = "node_rotation_drift"
DRIFT_ASSET_URI = "x-node-rotation://drift"  # for other schemes Airflow imports every provider, in every task

REQUEST_TASK = "request"
PLAN_TASK = "plan"
APPROVE_TASK = "approve"
WAIT_TASK = "wait"
BEFORE_OPENED = (APPROVE_TASK, WAIT_TASK)
"""Tasks that may end a run, skipped, before anything is touched."""
VERIFY_TASK = "verify"
BATCH_GROUP = "batch"
HEAL_TASK = f"{BATCH_GROUP}.heal"

PREPARE = "prepare"
RESTORE = "restore"
"""Deeds on a node group; those on a batch are named as its steps."""

REQUEST_KEY = "request"
"""XCom of the request task: a ``documents.Request``."""
ROTATION_KEY = "rotation"
"""XCom of the plan task: a ``documents.Rotation``."""
VERDICT_KEY = "verdict"
APPROVAL_KEY = "approval"
"""XCom of the approve task: a ``documents.Approval``."""
ENDED_KEY = "ended"
"""XCom of a task that ended its run before anything was touched: why, for verify and the report."""
POSTPONED_KEY = "postponed"
"""XCom of an admit task whose batch is left to a run to come: a ``documents.Postponed``."""
TOOK_UP_KEY = "took_up"
"""XCom of a prepare task that cleans up after a dead run: that run's id."""
CAUSE_KEY = "cause"
"""XCom of a step, or of a group's deed, that failed: a ``documents.Cause``."""
UNSENT_KEY = "unsent"
"""XCom of a task that could not tell somebody, with the kind of what it had to tell: a ``documents.Unsent``."""

RETRIES = 20
"""With the pauses below about half an hour, as on the command line: who gives no answer so long gives none."""
LONGEST_PAUSE_S = 120.0
UNKNOWN_RETRIES = 3
"""Of an error that nobody foresaw."""
RETRY_DELAY = timedelta(seconds=10)
SWEEP_AGAIN_S = 20.0
"""Every pause of a sweep: pods leave as budgets allow at that moment, so it has to be there often."""
SWEEP_RETRIES = 30
"""Ten minutes: less than the hour after which the next sweep comes."""
ADMIT_TIMEOUT = timedelta(days=3)
CLEAR_TIMEOUT = timedelta(days=30)
"""Windows and promotions take their time; a newer run takes the place of one that waits."""
DEFER_MARGIN_S = 120.0
"""How much later than its own deadline Airflow would end a deferred task that said nothing."""
