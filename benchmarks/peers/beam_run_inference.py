"""Apache Beam's `RunInference`: Pillow in a Map and a Keras model behind TFModelHandlerTensor; then a ModelHandler of
the converted network.

Documented in https://beam.apache.org/documentation/ml/inference-overview/; the pipeline follows Beam's own example of
image classification with TensorFlow, apache_beam/examples/inference/tensorflow_imagenet_segmentation.py: read_image in
a Map, float32 tensors, RunInference with the handler's defaults, one worker of the local runner.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.ml.inference.base import KeyedModelHandler, ModelHandler, RunInference
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from benchmarks.peers import job

SCHEMA = pa.schema([("path", pa.string()), ("embedding", pa.list_(pa.float32()))])


def recommended(flags: argparse.Namespace) -> None:
    """Images as float32 tensors, one worker, batches as RunInference chooses them."""
    from apache_beam.ml.inference.tensorflow_inference import TFModelHandlerTensor, default_tensor_inference_fn

    marks = flags.marks

    def infer(model: Any, batch: Sequence[Any], inference_args: Any, model_id: Any = None) -> Iterable[Any]:
        results = list(default_tensor_inference_fn(model, batch, inference_args, model_id))
        job.mark(marks, len(results))
        return results

    handler = TFModelHandlerTensor(model_uri=str(flags.keras), inference_fn=infer)
    _run(flags, _read_tensor, KeyedModelHandler(handler), [])


def _read_tensor(path: str) -> tuple[str, Any]:
    import tensorflow
    from PIL import Image

    pixels = np.array(Image.open(path).resize((job.SIZE, job.SIZE)))
    return path, tensorflow.cast(tensorflow.convert_to_tensor(pixels), dtype=tensorflow.float32)


def same_network(flags: argparse.Namespace) -> None:
    """Two workers of the local runner, each with an interpreter of its own, small batches."""
    parallel = ["--direct_num_workers=2", "--direct_running_mode=multi_processing"]
    _run(flags, lambda path: (path, job.read_pixels(path)), KeyedModelHandler(LiteRtHandler(flags)), parallel)


class LiteRtHandler(ModelHandler[Any, Any, Any]):  # type: ignore[misc]
    """Runs the converted network."""

    def __init__(self, flags: argparse.Namespace) -> None:
        self._path, self._marks = Path(flags.litert), Path(flags.marks)

    def load_model(self) -> job.ConvertedNetwork:
        """Makes the interpreter of a worker."""
        return job.ConvertedNetwork(self._path)

    def run_inference(
        self, batch: Sequence[Any], model: job.ConvertedNetwork, inference_args: Mapping[str, Any] | None = None
    ) -> Iterable[Any]:
        """Maps pixels to vectors."""
        del inference_args
        vectors = model(np.stack(batch))
        job.mark(self._marks, len(vectors))
        return list(vectors)

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        """Keeps the batches small."""
        return {"min_batch_size": 8, "max_batch_size": 32}


def _run(flags: argparse.Namespace, read: Any, handler: Any, options: Sequence[str]) -> None:
    flags.output.mkdir(parents=True, exist_ok=True)
    with beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions(list(options))) as pipeline:
        (
            pipeline
            | beam.Create(job.paths(flags.images))
            | beam.Reshuffle()
            | "ReadImage" >> beam.Map(read)
            | RunInference(handler)
            | "Row" >> beam.Map(_row)
            | beam.io.WriteToParquet(str(flags.output / "part"), SCHEMA, file_name_suffix=".parquet")
        )


def _row(result: tuple[str, Any]) -> dict[str, Any]:
    path, prediction = result
    vector = getattr(prediction, "inference", prediction)
    return {"path": path, "embedding": np.asarray(vector, np.float32)}


if __name__ == "__main__":
    job.main(recommended, same_network)
