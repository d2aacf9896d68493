"""The command `submit`."""

from typing import Annotated

import typer

from ...errors import InputError
from ...text.printable import json_text
from ..console.log import Quiet, say
from ..search import (
    AllowPredicted,
    Budget,
    Deterministic,
    MayTrain,
    Sampler,
    Seed,
    TaskSpec,
    Trials,
    ValidationSamples,
)
from ..support import (
    Batch,
    FreeShapes,
    Json,
    MaxDrop,
    MaxEnergy,
    MaxLatency,
    MaxSize,
    TargetNames,
    TaskArguments,
    errors,
    given_options,
    show,
    task_arguments,
)
from .shared import Server, token


def submit(
    context: typer.Context,
    task: TaskSpec = "digits",
    *,
    server: Server = "http://127.0.0.1:8700",
    target: TargetNames = "cpu",
    task_arg: TaskArguments = None,
    batch: Batch = 1,
    shape: FreeShapes = None,
    budget: Budget = None,
    trials: Trials = None,
    max_drop: MaxDrop = None,
    max_latency: MaxLatency = None,
    max_size: MaxSize = None,
    max_energy: MaxEnergy = None,
    sampler: Sampler = "front",
    recovery: MayTrain = True,
    allow_predicted: AllowPredicted = False,
    seed: Seed = 0,
    deterministic: Deterministic = False,
    validation_samples: ValidationSamples = None,
    recipe: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A usual wish of the service; given options replace its own."),
    ] = None,
    label: Annotated[list[str] | None, typer.Option(help="What the worker must have; repeatable.")] = None,
    priority: Annotated[int, typer.Option(help="Searches with a higher one go first.")] = 0,
    idempotency_key: Annotated[
        str | None, typer.Option("--key", help="The same key with the same order gives the same search.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Print its log until it is over.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Submit a search to a service; TASK is one that it has registered. The token is in AUTOCOMPRESS_TOKEN.

    --task-arg model=@FILE uploads a file of safetensors or ONNX for an argument that is a path.

    With --follow the exit code is that of the search: 0 when it is finished, 1 when nothing meets the limits.

    Examples:

        autocompress submit digits --budget 3m --follow

        autocompress submit digits --recipe smallest-within-1pp --budget 20m

        autocompress submit resnet20 --server https://compress.example --max-drop 1pp --label gpu
    """
    with errors():
        from ...service.client import Client
        from ...service.order import Order

        client = Client(server, token=token())
        given = task_arguments(task_arg or [])
        arguments = {
            name: client.upload(text[1:]) if text.startswith("@") else text for name, text in given.items()
        }
        order = Order(
            task=task,
            arguments=arguments,
            target=target,
            batch=batch,
            shapes=tuple(shape or ()),
            budget=budget,
            trials=trials,
            max_drop=max_drop,
            max_latency=tuple(max_latency or ()),
            max_size=tuple(max_size or ()),
            max_energy=tuple(max_energy or ()),
            sampler=sampler,
            recovery=recovery,
            allow_predicted=allow_predicted,
            seed=seed,
            deterministic=deterministic,
            validation_samples=validation_samples,
            labels=tuple(label or ()),
            priority=priority,
        )
        search = client.submit_order(order, key=idempotency_key, recipe=recipe, given=given_options(context))
        if not as_json:
            show(f"{search.id}  {search.page}")
        if follow:
            search.follow(say)
        state = search.refresh()
        if as_json:
            print(json_text(state, indent=2))
        if follow and state["state"] != "finished":
            raise InputError(f"The search is {state['state']}: {state['message'] or search.page}")
        if follow and state["exit_code"]:
            raise typer.Exit(int(state["exit_code"]))
