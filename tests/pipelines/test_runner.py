from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import DebugOptions, PipelineOptions, WorkerOptions

from pipelines import embed, runner
from tests.photographs import write_folder
from transforms.errors import OptionError

HERE = [
    "",
    "--runner=DirectRunner",
    "--runner=PrismRunner",
    "--runner=FlinkRunner",
    "--runner=FlinkRunner --flink_master=[local]",
    "--runner=FlinkRunner --flink_master=http://10.0.0.1:8081 --environment_type=LOOPBACK",
    "--runner=FlinkRunner --flink_master=127.0.0.1:8081 --environment_type=EXTERNAL --environment_config=127.0.0.1:5",
    "--runner=SparkRunner --spark_master_url=local[2]",
]
ELSEWHERE = [
    "--runner=DataflowRunner --project=p --region=r --temp_location=gs://b/t",
    "--runner=DataflowRunner --project=p --region=r --temp_location=gs://b/t --environment_type=LOOPBACK",
    "--runner=FlinkRunner --flink_master=http://10.0.0.1:8081",
    "--runner=FlinkRunner --flink_master=http://10.0.0.1:8081 --environment_type=DOCKER",
    "--runner=FlinkRunner --flink_master=10.0.0.1:8081 --environment_type=EXTERNAL --environment_config=10.0.0.2:5",
    "--runner=PortableRunner --job_endpoint=10.0.0.1:8099",
]


@pytest.mark.parametrize("flags", HERE)
def test_workers_on_this_machine_find_local_places(flags: str) -> None:
    runner.check_runner(flags.split(), ["/photos", "s3://bucket/store"])


@pytest.mark.parametrize("flags", ELSEWHERE)
def test_workers_elsewhere_need_an_object_store(flags: str) -> None:
    runner.check_runner(flags.split(), ["gs://bucket/photos", None, "s3://bucket/store"])
    with pytest.raises(OptionError, match=r"/store lies on this machine, .* copy it to gs:// or s3://") as refusal:
        runner.check_runner(flags.split(), ["gs://bucket/photos", "/store"])
    assert ("LOOPBACK" in str(refusal.value)) != ("Dataflow" in flags), "the workers of Dataflow are never here"


def test_a_command_says_so_before_it_reads_anything(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--runner=PortableRunner", "--job_endpoint=10.0.0.1:8099"]
    assert embed.main(["--input", "/none", "--store", "s3://bucket/store", *flags]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_job_server_that_does_not_start_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = write_folder(tmp_path / "photos", per_label=1)
    call = ["--input", str(photos), "--store", str(tmp_path / "store")]
    assert embed.main([*call, "--runner=PrismRunner", f"--prism_location={tmp_path}/none"]) == 2
    assert "heliograph: Beam's job server does not start: " in capsys.readouterr().err.splitlines()[-1]


def test_a_job_server_that_cannot_be_fetched_has_a_remedy() -> None:
    urls = "https://a.org/flink-1.jar: HTTP Error 404. Also failed at https://b.org/flink-1.jar: <urlopen error>"
    told = runner._reason(RuntimeError(f"Unable to fetch remote job server jar at {urls}"), "flink")
    assert told.startswith("flink-1.jar cannot be fetched; give the file with --flink_job_server_jar, or ")


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ("--runner=DaskRunner", "loses data silently"),
        ("--runner=apache_beam.runners.dask.dask_runner.DaskRunner", "loses data silently"),
        ("--runner=apache_beam.runners.render.RenderRunner", "runs nothing"),
        ("--runner=SwitchingDirectRunner", "depends on the graph"),
        ("--runner=TestDirectRunner", "may lose data without a word; there are prism, flink"),
        ("--runner=SparklingRunner", "Unexpected pipeline runner"),
        ("--streaming", "publishes at the end of its input"),
        ("--direct_running_mode=multi_processing --direct_num_workers=2", "hang for ever"),
    ],
)
def test_what_would_lose_data_is_refused(flags: str, reason: str) -> None:
    with pytest.raises(OptionError, match=reason):
        runner.check_runner(flags.split())


@pytest.mark.parametrize("name", ["direct", "DirectRunner", "FnApiRunner", "apache_beam.runners.DirectRunner"])
def test_names_of_the_local_runner(name: str) -> None:
    assert runner.is_local(runner.check_runner([f"--runner={name}"]))


def test_an_encoder_on_this_machine_is_for_workers_here_or_for_their_image(tmp_path: Path) -> None:
    cluster = ["--runner=FlinkRunner", "--flink_master=http://10.0.0.1:8081"]
    runner.check_runner([], encoder=str(tmp_path))
    runner.check_runner(cluster, encoder="efficientnet-lite0")
    runner.check_runner([*cluster, "--sdk_container_image=workers:1"], encoder=str(tmp_path))
    with pytest.raises(OptionError, match="put it into their image, at the same path"):
        runner.check_runner(cluster, encoder=str(tmp_path))


@pytest.mark.parametrize("flags", [[], ["--runner=PrismRunner"], ["--runner=FlinkRunner", "--flink_master=[local]"]])
def test_a_job_that_ends_with_this_process_is_waited_for(flags: list[str]) -> None:
    with pytest.raises(OptionError, match="--no-wait is for --runner=DataflowRunner"):
        runner.check_runner(flags, wait=False)


def test_a_job_server_that_does_not_answer_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = write_folder(tmp_path / "photos", per_label=1)
    call = ["--input", str(photos), "--store", str(tmp_path / "store"), "--environment_type=LOOPBACK"]
    assert embed.main([*call, "--runner=PortableRunner", "--job_endpoint=localhost:1", "--job_server_timeout=1"]) == 2
    assert "heliograph: nobody answers at --job_endpoint; " in capsys.readouterr().err.splitlines()[-1]


def test_views_of_beams_flags_share_their_values() -> None:
    options = runner.check_runner(["--experiments=given"])
    options.view_as(DebugOptions).add_experiment("added")
    options.view_as(WorkerOptions).sdk_container_image = "image"
    for one in (options, options.view_as(DebugOptions), pickle.loads(pickle.dumps(options))):
        assert one.view_as(DebugOptions).experiments == ["given", "added"]
        assert one.view_as(WorkerOptions).sdk_container_image == "image"
        assert one.view_as(PipelineOptions).get_all_options()["sdk_container_image"] == "image"
