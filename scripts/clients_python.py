"""Asks a real server with the client that `openapi-python-client` has made: see scripts/clients."""

import sys
import uuid

from gristmill_api import AuthenticatedClient
from gristmill_api.api.batches import batches_list, batches_show
from gristmill_api.api.jobs import jobs_edit_edit, jobs_enqueue, jobs_list, jobs_show, jobs_steer_cancel
from gristmill_api.api.queues import queues_list
from gristmill_api.api.version import system_version
from gristmill_api.models import Error, JobEdit, JobRequest
from gristmill_api.models.job_state import JobState

address, token = sys.argv[1:]
client = AuthenticatedClient(base_url=address, token=token)


def data(answer):
    assert answer is not None and not isinstance(answer, Error), answer
    assert answer.success is True
    return answer.data


assert data(system_version.sync(client=client)).name == "gristmill"

mail = JobRequest.from_dict({
    "kind": "email",
    "payload": {"to": "you@example.com", "subject": "é", "text": "t"},
    "in": "1h",
})
key = str(uuid.uuid4())
made = data(jobs_enqueue.sync(client=client, body=mail, idempotency_key=key))
again = data(jobs_enqueue.sync(client=client, body=mail, idempotency_key=key))
assert made.job.id == again.job.id, "under its key it is enqueued once"

job = data(jobs_show.sync(made.job.id, client=client))
assert job.state == JobState.SCHEDULED and job.payload["subject"] == "é" and job.run_at is not None
assert [wait.why.value for wait in job.waits if hasattr(wait, "why")][:1] == ["time"], job.waits

answer = jobs_show.sync_detailed(made.job.id, client=client)
edited = jobs_edit_edit.sync(
    made.job.id, client=client, body=JobEdit.from_dict({"priority": "high", "queue": "slow"}),
    if_match=answer.headers["etag"],
)
assert data(edited).affected == 1
stale = jobs_edit_edit.sync(
    made.job.id, client=client, body=JobEdit.from_dict({"queue": "other"}), if_match=answer.headers["etag"]
)
assert isinstance(stale, Error) and stale.error.code.value == "stale", stale

page = jobs_list.sync(client=client, state=[JobState.SCHEDULED], queue="slow", limit=1)
assert [one.id for one in data(page)] == [made.job.id]
refused = jobs_list.sync(client=client, limit=0)
assert isinstance(refused, Error) and refused.error.details.faults[0].path == "?limit", refused
nobody = jobs_show.sync(uuid.UUID(int=0), client=client)
assert isinstance(nobody, Error) and nobody.error.code.value == "not_found", nobody
assert data(jobs_steer_cancel.sync(made.job.id, client=client)).affected == 1

batch = data(batches_list.sync(client=client, limit=1))[0]
shown = data(batches_show.sync(batch.id, client=client))
assert shown.batch.counts.input_ == 2000, shown
assert any(queue.name == "slow" for queue in data(queues_list.sync(client=client)))
print("clients: Python: what was asked was answered as the description says", file=sys.stderr)
