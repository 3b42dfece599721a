"""The ``litert`` engine: the converted network on LiteRT's XNNPACK kernels, without TensorFlow."""

from __future__ import annotations

from transforms.encoders.conversion import converted_network
from transforms.encoders.encoder import Pixels, Vectors
from transforms.encoders.interpreters import Interpret, InterpretedEncoder
from transforms.encoders.specification import EncoderSpecification
from transforms.encoders.tensorflow_runtime import without_chatter
from transforms.errors import EncoderError


def load_litert(
    specification: EncoderSpecification, trust_model: bool = False, threads: int | None = None
) -> InterpretedEncoder:
    """Loads the converted network of a specification, converting it when this machine has none yet.

    Args:
      specification: of an encoder for this engine.
      trust_model: converts models that carry code as well.
      threads: that compute at once; by default one for each core.

    Raises:
      EncoderError: the network cannot be converted or run.
    """
    from ai_edge_litert.interpreter import Interpreter

    network = converted_network(specification, trust_model)
    path = str(network.path)

    def new_interpreter() -> Interpret:
        try:
            interpreter = Interpreter(path, num_threads=1)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise EncoderError(f"LiteRT does not load {path} ({error}); delete it to convert it again") from error
        source = interpreter.get_input_details()[0]["index"]
        target = interpreter.get_output_details()[0]["index"]

        def interpret(pixels: Pixels) -> Vectors:
            interpreter.set_tensor(source, pixels)
            interpreter.invoke()
            vectors: Vectors = interpreter.get_tensor(target)
            return vectors

        return interpret

    with without_chatter():
        return InterpretedEncoder(specification, new_interpreter, threads, network.bytes_of_interpreter)
