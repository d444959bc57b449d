"""`embergate batches`: from a file of requests to a folder of answers, and every step between by itself."""

from __future__ import annotations

import enum
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from embergate.cli.operator import options
from embergate.errors import EmbergateError, InvalidRequestError

if TYPE_CHECKING:
    from embergate.cli.operator.api import Api, Target

app = typer.Typer(help="Have the requests of a file answered, at half price.", no_args_is_help=True)
COLUMNS = (
    "name",
    "state",
    "model",
    "jobProgress.percent",
    "jobProgress.tokensPerSecond",
    "jobProgress.estimatedSecondsLeft",
    "createTime",
)
EXIT_INTERRUPTED: Final = 130
ID_CHARACTERS: Final = 63
Job = Annotated[str, typer.Argument(metavar="JOB", help="The job's id.")]
Output = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER", help="Where the files are put; made if need be. By default a folder of the job's id."
    ),
]


class Format(enum.StrEnum):
    """What answers are written as."""

    JSONL = "jsonl"
    PARQUET = "parquet"
    NPY = "npy"


@app.command("create")
def create_batch(
    account: options.Account,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help='JSON Lines of {"custom_id": "…", "body": {"input": "…"}}.')
    ],
    model: Annotated[str, typer.Option(show_default=False, help="The model, in any form of its name.")],
    job: Annotated[str, typer.Option("--job", metavar="ID", help="The job's id; made up if left out.")] = "",
    output_format: Annotated[Format, typer.Option("--format", help="What the answers are written as.")] = Format.JSONL,
    extra_body: Annotated[
        str,
        typer.Option(metavar="JSON", help='Fields that every request gets which lacks them, as {"dimensions": 256}.'),
    ] = "{}",
    wait: Annotated[bool, typer.Option(help="Wait for the end, and fetch the output.")] = True,
    output: Output = None,
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """Upload a file as a dataset, have its requests answered, wait, and fetch the answers.

    Ctrl-C while it waits leaves the job as it is: `embergate batches wait` comes back to it.
    """
    from embergate.cli.operator.api import Target
    from embergate.cli.operator.show import print_facts
    from embergate.ids import new_short_id

    target = Target(server, api_key)
    if not server:
        raise InvalidRequestError("batch jobs are made on a running server: give --server, or set EMBERGATE_SERVER")
    job_id = job or new_short_id("bij-")
    draft = {
        "model": model,
        "outputFormat": output_format.value.upper(),
        "inferenceParameters": {"extraBody": extra_body},
    }
    made = _make(target, account, job_id, file, draft)
    with _interrupted_as(_goes_on(account, job_id)):
        _say(f"the job {job_id} is made")
        if wait:
            _wait_and_fetch(target, account, job_id, output or Path(job_id), as_json=as_json)
        else:
            print_facts(made, as_json=as_json)


@app.command("list")
def list_batches(
    account: options.Account,
    filter_: options.Filter = "",
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """List an account's batch jobs."""
    from embergate.cli.operator.api import Target, list_all, path_of
    from embergate.cli.operator.show import print_rows

    rows = list_all(Target(server, api_key), path_of("accounts", account, "batchInferenceJobs"), filter_)
    print_rows(rows, COLUMNS, as_json=as_json)


@app.command("get", hidden=True)
@app.command("show")
def show_batch(
    account: options.Account,
    job: Job,
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """Say how a batch job stands."""
    from embergate.cli.operator.api import Target
    from embergate.cli.operator.show import print_facts

    print_facts(_call(Target(server, api_key), account, job, "GET"), as_json=as_json)


@app.command("wait")
def wait_for_batch(
    account: options.Account,
    job: Job,
    output: Output = None,
    as_json: options.AsJson = False,
    server: options.Server = "",
    api_key: options.ApiKey = "",
) -> None:
    """Wait until a batch job has ended, and fetch its output."""
    from embergate.cli.operator.api import Target

    _wait_and_fetch(Target(server, api_key), account, job, output or Path(job), as_json=as_json)


@app.command("download")
def download_batch(
    account: options.Account, job: Job, output: Output = None, server: options.Server = "", api_key: options.ApiKey = ""
) -> None:
    """Fetch the output of a batch job that has ended; print where its files are."""
    from embergate.cli.operator.api import Target, call_api
    from embergate.cli.operator.dataset_files import download_files
    from embergate.cli.operator.waiting import ENDED, state_of

    target = Target(server, api_key)
    found = _call(target, account, job, "GET")
    if found["state"] not in ENDED:
        raise EmbergateError(f"the job {job} has not ended ({state_of(found)}): embergate batches wait {account} {job}")
    dataset = _output_of(found)
    for file in call_api(target, lambda api: download_files(api, account, dataset, output or Path(job))):
        print(file)


@app.command("cancel")
def cancel_batch(account: options.Account, job: Job, server: options.Server = "", api_key: options.ApiKey = "") -> None:
    """Cancel and forget a batch job; of one that has ended the output stays."""
    from embergate.cli.operator.api import Target

    _call(Target(server, api_key), account, job, "DELETE")
    print(f"{job} is deleted; nothing more of it is done or charged")


def _make(target: Target, account: str, job: str, file: Path, draft: dict[str, Any]) -> dict[str, Any]:
    """Make a job of a file, whose rows are looked at before anything is sent; return it. Raises: EmbergateError."""
    from embergate.cli.operator.api import call_api, check, path_of
    from embergate.cli.operator.dataset_files import upload_files
    from embergate.cli.operator.transfer import check_rows

    num_rows = check(lambda: check_rows([file]))
    dataset = f"{job[: ID_CHARACTERS - len('-input')].rstrip('-')}-input"
    path = path_of("accounts", account, "batchInferenceJobs")
    named = {"displayName": file.name[:ID_CHARACTERS], "exampleCount": num_rows}

    async def work(api: Api) -> dict[str, Any]:
        await upload_files(api, account, dataset, [file], named)
        try:
            return await api.call("POST", path, body={**draft, "inputDatasetId": dataset}, batchInferenceJobId=job)
        except EmbergateError as error:
            error.message += f"; its input was uploaded: {delete}"
            raise

    delete = f"embergate datasets delete {account} {dataset}"
    with _interrupted_as(f"stopped before the job was made; its input may be there: {delete}"):
        return call_api(target, work)


def _call(target: Target, account: str, job: str, method: str) -> dict[str, Any]:
    from embergate.cli.operator.api import call_api, path_of

    path = path_of("accounts", account, "batchInferenceJobs", job)
    return call_api(target, lambda api: api.call(method, path))


def _wait_and_fetch(target: Target, account: str, job: str, folder: Path, *, as_json: bool) -> None:
    """Wait, fetch and print where the files are, or as JSON how the job has ended. Raises: EmbergateError if it failed."""
    from embergate.cli.operator.api import call_api
    from embergate.cli.operator.dataset_files import download_files
    from embergate.cli.operator.show import print_json, readable
    from embergate.cli.operator.waiting import pace_of, state_of

    ended = _wait(target, account, job)
    if ended["state"] == "JOB_STATE_FAILED":
        raise EmbergateError(
            f"the job {job} has failed: {readable(ended['status']['message'])}{_rest_of(ended, account, job)}"
        )
    progress = ended["jobProgress"] or {}
    num_done, num_failed = progress.get("successfullyProcessedRequests", 0), progress.get("failedRequests", 0)
    with _interrupted_as(f"the output is not all here; to fetch it: embergate batches download {account} {job}"):
        _say(
            f"{state_of(ended)}: {num_done:,} requests answered, {num_failed:,} failed, {pace_of(ended) or 'no tokens'}"
        )
        dataset = _output_of(ended)
        fetched = call_api(target, lambda api: download_files(api, account, dataset, folder))
    if as_json:
        print_json(ended)
    else:
        print("\n".join(str(file) for file in fetched))
    if ended["state"] == "JOB_STATE_EXPIRED":
        raise EmbergateError(f"the job {job} has expired: {readable(ended['status']['message'])}")
    if ended["state"] == "JOB_STATE_CANCELLED":
        raise EmbergateError(f"the job {job} was cancelled; what was done by then is in {folder}")


def _rest_of(ended: dict[str, Any], account: str, job: str) -> str:
    """Return how to fetch what a failed job has answered, if that is anything."""
    if not (ended["jobProgress"] or {}).get("successfullyProcessedRequests"):
        return ""
    return f"; to fetch what it answered before: embergate batches download {account} {job}"


def _wait(target: Target, account: str, job: str) -> dict[str, Any]:
    with _interrupted_as(_goes_on(account, job)):
        from embergate.cli.operator.api import call_api, path_of
        from embergate.cli.operator.waiting import JobBar, wait_for_end

        path = path_of("accounts", account, "batchInferenceJobs", job)

        async def work(api: Api) -> dict[str, Any]:
            with JobBar() as bar:
                return await wait_for_end(api, path, bar.show)

        return call_api(target, work)


def _goes_on(account: str, job: str) -> str:
    return f"the job {job} goes on; to come back: embergate batches wait {account} {job}"


@contextmanager
def _interrupted_as(message: str) -> Iterator[None]:
    """Have Ctrl-C end the command with what is to be known then."""
    try:
        yield
    except KeyboardInterrupt:
        _say(message)
        raise typer.Exit(EXIT_INTERRUPTED) from None


def _output_of(job: dict[str, Any]) -> str:
    return str(job["outputDatasetId"]).rpartition("/")[2]


def _say(message: str) -> None:
    """Tell the user, on stderr."""
    print(f"embergate: {message}", file=sys.stderr)
