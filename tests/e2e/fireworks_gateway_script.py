"""Runs in `.clients-gateway`: what fireworks-ai 1.x makes of the gateway, printed as JSON."""

import json
import sys
import time
from pathlib import Path

import fireworks
import httpx
from fireworks import Fireworks
from fireworks._models import BaseModel

BASE, KEY, MODEL, FOLDER = sys.argv[1:5]
DEADLINE_S = 60.0
client = Fireworks(base_url=BASE, api_key=KEY, account_id="default")


def shown(model: BaseModel) -> dict[str, object]:
    return json.loads(model.to_json())


def refused(make: object) -> str:
    try:
        make()
    except fireworks.APIStatusError as error:
        return f"{type(error).__name__} {error.status_code}: {error.response.json()}"
    return "accepted"


created = [
    client.users.create(
        role="user", user_id=f"sdk-{number}", email=f"sdk-{number}@example.org", display_name=f"{number}"
    )
    for number in range(7)
]
key = client.api_keys.create("sdk-0", api_key={"display_name": "from the sdk", "annotations": {"team": "search"}})
more_keys = [client.api_keys.create("sdk-0", api_key={"display_name": f"key {number}"}) for number in range(2)]
their_client = Fireworks(base_url=BASE, api_key=key.key, account_id="default")
secret = client.secrets.create(name="accounts/default/secrets/s3", key_name="S3", value="do-not-show-this")
ROWS = b'{"custom_id": "a", "body": {"input": "hello"}}\n{"custom_id": "b", "body": {"input": "world"}}\n'
uploaded = {"user_uploaded": {}, "example_count": "2", "display_name": "by hand"}
by_form = client.datasets.create(dataset_id="by-form", dataset=uploaded)
sent = client.datasets.upload("by-form", file=("rows.jsonl", ROWS))
client.datasets.create(dataset_id="by-url", dataset=uploaded)
places = client.datasets.get_upload_endpoint("by-url", filename_to_size={"rows.jsonl": len(ROWS)})
httpx.put(places.filename_to_signed_urls["rows.jsonl"], content=ROWS).raise_for_status()
client.datasets.validate_upload("by-url", body={})
datasets = {
    "created": shown(by_form),
    "sent": shown(sent),
    "listed": [shown(listed) for listed in client.datasets.list(page_size=1)],
    "contents": {
        name: httpx.get(url).text
        for dataset_id in ("by-form", "by-url")
        for name, url in client.datasets.get_download_endpoint(dataset_id).filename_to_signed_urls.items()
    },
    "taken": refused(lambda: client.datasets.create(dataset_id="by-url", dataset=uploaded)),
    "uncounted": refused(lambda: client.datasets.create(dataset_id="other", dataset={"user_uploaded": {}})),
}


def batch() -> dict[str, object]:
    """Have the dataset's requests answered, and what the same requests are answered one by one."""
    jobs = client.batch_inference_jobs
    made = jobs.create(
        batch_inference_job_id="sdk",
        model=MODEL,
        input_dataset_id="accounts/default/datasets/by-url",
        output_dataset_id="answers",
        inference_parameters={"extra_body": '{"normalize": true}'},
        display_name="from the sdk",
    )
    deadline = time.monotonic() + DEADLINE_S
    while (job := jobs.get("sdk")).state not in {"JOB_STATE_COMPLETED", "JOB_STATE_FAILED", "JOB_STATE_EXPIRED"}:
        assert time.monotonic() < deadline, job
        time.sleep(0.05)
    urls = client.datasets.get_download_endpoint("answers").filename_to_signed_urls
    rows = [json.loads(row)["body"] for row in ROWS.splitlines()]
    requests = [{"model": MODEL, "normalize": True, **row} for row in rows]
    done = {
        "made": shown(made),
        "ended": shown(job),
        "listed": [listed.name for listed in jobs.list(filter="state=COMPLETED", page_size=1)],
        "files": {name: httpx.get(url).text for name, url in urls.items()},
        "single": [client.post("/v1/embeddings", body=request, cast_to=object) for request in requests],
        "taken": refused(lambda: jobs.create(batch_inference_job_id="sdk", model=MODEL, input_dataset_id="by-url")),
        "no model": refused(lambda: jobs.create(model="fireworks/none", input_dataset_id="by-url")),
    }
    jobs.delete("sdk")
    done["deleted"] = refused(lambda: jobs.get("sdk"))
    done["output"] = client.datasets.get("answers").source_job_name
    client.datasets.delete("answers")
    return done


found = {"batch": batch()}
client.datasets.delete("by-form")
datasets["left"] = [listed.name for listed in client.datasets.list()]
files = {str(path.relative_to(FOLDER)): path for path in Path(FOLDER).rglob("*") if path.is_file()}
made = client.models.create(
    model_id="mine", model={"kind": "EMBEDDING_MODEL", "display_name": "Mine", "description": "by the sdk"}
)
sizes = {name: str(path.stat().st_size) for name, path in files.items()}
early = refused(lambda: client.models.validate_upload("mine"))
places = client.models.get_upload_endpoint("mine", filename_to_size=sizes, enable_resumable_upload=False)
for name, url in places.filename_to_signed_urls.items():
    headers = {
        "content-type": "application/octet-stream",
        "x-goog-content-length-range": f"{sizes[name]},{sizes[name]}",
    }
    httpx.put(url, content=files[name].read_bytes(), headers=headers).raise_for_status()
checked = client.models.validate_upload("mine")
prepared = client.models.prepare("mine", precision="BF16")
embedding = client.post(
    "/inference/v1/embeddings",
    body={"model": "accounts/default/models/mine:bf16", "input": "a fox"},
    cast_to=object,
)
models = {
    "created": shown(made),
    "early": early,
    "warnings": checked.warnings,
    "prepared": prepared,
    "dimensions": len(embedding["data"][0]["embedding"]),
    "listed": [listed.name for listed in client.models.list(page_size=1, filter='display_name="Mine" AND state=READY')],
    "catalogue": [listed.name for listed in client.models.list(account_id="fireworks")],
    "read": shown(client.models.get("mine")),
    "updated": shown(client.models.update("mine", display_name="Yours", public=True)),
    "contents are the same": {
        name: httpx.get(url).content == files[name].read_bytes()
        for name, url in client.models.get_download_endpoint("mine").filename_to_signed_urls.items()
    },
    "not offered": refused(lambda: client.models.prepare("mine", precision="FP8")),
    "taken": refused(lambda: client.models.create(model_id="mine", model={"kind": "EMBEDDING_MODEL"})),
    "no kind": refused(lambda: client.models.create(model_id="other")),
    "deleted": client.models.delete("mine"),
    "gone": refused(lambda: client.models.get("mine")),
}
found |= {
    "datasets": datasets,
    "models": models,
    "users": [
        user.name for user in client.users.list(page_size=3, filter='email:"SDK-"', order_by="display_name desc")
    ],
    "created": shown(created[0]),
    "read": shown(client.users.get("sdk-0")),
    "masked": shown(client.users.get("sdk-0", read_mask="name,role")),
    "updated": shown(client.users.update("sdk-1", role="contributor")),
    "key": shown(key),
    "key ids": [made.key_id for made in (key, *more_keys)],
    "keys": [shown(listed) for listed in client.api_keys.list("sdk-0", page_size=1)],
    "first page of keys": shown(client.api_keys.list("sdk-0", page_size=2)),
    "account": shown(client.accounts.get()),
    "their accounts": [account.name for account in their_client.accounts.list()],
    "secret": shown(secret),
    "secrets": [listed.name for listed in client.secrets.list()],
    "audit": client.get("/v1/accounts/default/auditLogs?pageSize=100", cast_to=object),
    "policy": client.get("/v1/accounts/default/policySettings", cast_to=object),
    "redemptions": client.get("/v1/accounts/default/creditRedemptions", cast_to=object),
    "errors": {
        "taken": refused(lambda: client.users.create(role="user", user_id="sdk-0", email="x@example.org")),
        "no user": refused(lambda: client.users.get("nobody")),
        "bad filter": refused(lambda: client.users.list(filter="colour=red")),
        "foreign": refused(lambda: their_client.accounts.get(account_id="elsewhere")),
        "not theirs": refused(lambda: their_client.users.create(role="admin", user_id="x", email="x@example.org")),
        "no code": refused(
            lambda: client.post(
                "/v1/creditCodes:redeem", body={"code": "NONE", "name": "accounts/default"}, cast_to=object
            )
        ),
    },
}
client.api_keys.delete("sdk-0", key_id=key.key_id)
client.secrets.delete("s3")
found["errors"]["deleted key"] = refused(lambda: their_client.accounts.list())
print(json.dumps(found))
