"""`InferenceSession`: an accelerator behind the interface of `onnxruntime.InferenceSession`.

Code that runs the ONNX model needs one changed line:

    session = InferenceSession("deploy/")  # before: onnxruntime.InferenceSession("model.onnx")
    (mask,) = session.run(None, {session.get_inputs()[0].name: array})
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fpga_gen_host.accelerator import Accelerator
from fpga_gen_host.deployment import Deployment
from fpga_gen_host.errors import InputError

TYPES = {"float32": "tensor(float)", "int64": "tensor(int64)", "bool": "tensor(bool)"}


@dataclass(frozen=True)
class NodeArg:
    """An input or output of the model. shape: with the batch axis; type: as ONNX Runtime writes
    it."""

    name: str
    shape: list[int]
    type: str


class Runner(Protocol):
    """What computes the frames of a session: an `Accelerator`, or something that stands for one."""

    @property
    def deployment(self) -> Deployment: ...

    def run(self, array: np.ndarray | Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """Outputs by name of the model's input, real numbers in the model's own shape; of several
        inputs by name."""
        ...

    def close(self) -> None: ...


class InferenceSession:
    """A network with the interface of `onnxruntime.InferenceSession`.

    Args:
        folder: the deploy folder.
        runner: what computes; None: an `Accelerator` with the other arguments.
        provider: what `get_providers` names.

    Inputs are the model's own: float32 in its own shape, mostly (1, C, H, W), normalised as it was
    trained. For pictures use `Accelerator.run`. Close it in the end, or use it in a `with`
    statement.

    Raises:
        HostError: see `Accelerator`.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        runner: Runner | None = None,
        provider: str = "FpgaGenExecutionProvider",
        **options: Any,
    ) -> None:
        self._runner = runner or Accelerator(folder, **options)
        self._provider = provider
        deployment = self._runner.deployment
        tensor = deployment.input_tensor
        self._inputs = [
            NodeArg(part.name or tensor.name, list(part.array_shape), TYPES["float32"])
            for part in deployment.host_input.inputs
        ]
        zeros = {t.name: np.zeros(t.shape, np.int8) for t in deployment.output_tensors}
        self._outputs = [
            NodeArg(name, list(value.shape), TYPES[str(value.dtype)])
            for name, value in deployment.finish(zeros).items()
        ]

    # --- as in ONNX Runtime ----------------------------------------------------------------
    def get_inputs(self) -> list[NodeArg]:
        """The model's inputs, in its order."""
        return list(self._inputs)

    def get_outputs(self) -> list[NodeArg]:
        """The model's outputs, in its order."""
        return list(self._outputs)

    def get_providers(self) -> list[str]:
        """What computes, in one name."""
        return [self._provider]

    def run(
        self,
        output_names: Sequence[str] | None,
        input_feed: Mapping[str, np.ndarray],
        run_options: object = None,
    ) -> list[np.ndarray]:
        """One frame.

        Args:
            output_names: which outputs, in which order; None or none: all.
            input_feed: each input by its name: real numbers in the model's own shape.
            run_options: accepted and ignored.

        Raises:
            InputError: a name is unknown, or the array does not fit.
            HostError: the frame failed.
        """
        known = [o.name for o in self._outputs]
        wanted = list(output_names or known)  # an empty list means all, as in ONNX Runtime
        if unknown := [name for name in wanted if name not in known]:
            raise InputError(f"no output {unknown[0]!r}: the model has {', '.join(known)}")
        if set(input_feed) != {i.name for i in self._inputs}:
            has = "one" if len(self._inputs) == 1 else str(len(self._inputs))
            raise InputError(
                f"inputs {', '.join(map(repr, input_feed)) or 'none'}: the model has {has}, "
                f"{', '.join(repr(i.name) for i in self._inputs)}"
            )
        arrays = {i.name: np.asarray(input_feed[i.name]) for i in self._inputs}
        for known in self._inputs:
            array = arrays[known.name]
            if list(array.shape) != known.shape or array.dtype.kind != "f":
                raise InputError(
                    f"input {known.name!r} is {array.dtype} {array.shape}: the model takes "
                    f"float32 {tuple(known.shape)}, normalised"
                )
        several = len(arrays) > 1
        found = self._runner.run(arrays if several else arrays[self._inputs[0].name][0])
        return [found[name] for name in wanted]

    # --- life ------------------------------------------------------------------------------
    def close(self) -> None:
        """Frees what computes."""
        self._runner.close()

    def __enter__(self) -> InferenceSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
