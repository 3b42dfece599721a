import pytest

from transforms.encoders.handle import Kind, parse_handle
from transforms.errors import EncoderError

HUB = "https://tfhub.dev/google/imagenet/mobilenet_v2_100_224/feature_vector/5"
KAGGLE = "google/efficientnet/tensorFlow2/b0-feature-vector"


@pytest.mark.parametrize(
    ("source", "kind", "target", "name"),
    [
        ("efficientnet-lite0", Kind.DEFAULT, "efficientnet-lite0", "efficientnet-lite0"),
        ("keras.applications:ResNet50", Kind.APPLICATIONS, "ResNet50", "resnet50"),
        (HUB, Kind.TF_HUB, HUB, "imagenet-mobilenet-v2-100-224-feature-vector"),
        (KAGGLE, Kind.KAGGLE, KAGGLE, "efficientnet-b0-feature-vector"),
        (f"kaggle:{KAGGLE}/1", Kind.KAGGLE, f"{KAGGLE}/1", "efficientnet-b0-feature-vector"),
        (
            f"https://www.kaggle.com/models/{KAGGLE}/2",
            Kind.KAGGLE,
            f"{KAGGLE}/2",
            "efficientnet-b0-feature-vector",
        ),
        ("gs://bucket/nets/My Net/3/", Kind.REMOTE, "gs://bucket/nets/My Net/3", "my-net-3"),
        ("s3://bucket/cells/2/encoder.keras", Kind.REMOTE, "s3://bucket/cells/2/encoder.keras", "cells-2"),
        (
            "https://www.kaggle.com/models/google/efficientnet/frameworks/tensorFlow2/variations/b0/versions/3",
            Kind.KAGGLE,
            "google/efficientnet/tensorFlow2/b0/3",
            "efficientnet-b0",
        ),
    ],
)
def test_kinds(source, kind, target, name):
    handle = parse_handle(source)
    assert (handle.kind, handle.target, handle.name, handle.source) == (kind, target, name, source)


def test_local_paths(tmp_path):
    (tmp_path / "My Net" / "3").mkdir(parents=True)
    (tmp_path / "Ünder_score.keras").touch()
    version = parse_handle(str(tmp_path / "My Net" / "3"))
    assert (version.kind, version.name) == (Kind.SAVED_MODEL, "my-net-3")
    file = parse_handle(str(tmp_path / "Ünder_score.keras"))
    assert (file.kind, file.name) == (Kind.KERAS_FILE, "nder-score")


def test_a_local_path_wins_over_a_kaggle_handle(tmp_path, monkeypatch):
    (tmp_path / KAGGLE).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert parse_handle(KAGGLE).kind is Kind.SAVED_MODEL


def test_weights_of_an_application():
    assert parse_handle("keras.applications:ResNet50").weights == "imagenet"
    assert parse_handle("keras.applications:ResNet50?weights=none").weights == "none"
    assert parse_handle("keras.applications:ResNet50?weights=/a/b.weights.h5").weights == "/a/b.weights.h5"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "is no handle"),
        ("a\nb", "is no handle"),
        ("nowhere", "nowhere does not exist"),
        ("gs://bucket", "is an address that is not fetched"),
        ("hdfs://server/model", "is an address that is not fetched"),
        ("http://tfhub.dev/google/x/1", "is an address that is not fetched"),
        ("https://example.org/model.tar.gz", "is an address that is not fetched"),
        ("https://www.kaggle.com/models/google/efficientnet", "write owner/model/framework"),
        ("kaggle:google/gemma/pyTorch/2b", "is for pyTorch"),
        ("keras.applications:ResNet50?top=yes", "only weights="),
        ("keras.applications:ResNet50?weights=", "only weights="),
    ],
)
def test_mistakes_are_named(source, message):
    with pytest.raises(EncoderError, match=message):
        parse_handle(source)


def test_unknown_files(tmp_path):
    for name, message in (("x.h5", "save it again as .keras"), ("x.onnx", "unknown kind")):
        (tmp_path / name).touch()
        with pytest.raises(EncoderError, match=message):
            parse_handle(str(tmp_path / name))
