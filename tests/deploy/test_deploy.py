"""What lies in deploy/: images, template, launcher, scripts and DAG, as far as it goes without an account."""

from __future__ import annotations

import fnmatch
import importlib.util
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines import embed, evaluate, options, score

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SCRIPTS = sorted([*DEPLOY.glob("*.sh"), *ROOT.glob("tests/**/*.sh")])
COMMANDS = {"embed": embed, "score": score, "evaluate": evaluate}
SECRET = re.compile(r"(?i)(secret|token|password|passwd|credential|private|api_?key|BEGIN [A-Z ]*KEY|AKIA|AIza)")
TEMPLATE = json.loads((DEPLOY / "template.json").read_text())
PARAMETERS = {parameter["name"]: parameter for parameter in TEMPLATE["parameters"]}


def launcher() -> types.ModuleType:
    specification = importlib.util.spec_from_file_location("launch", DEPLOY / "launch.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def check_launch(parameters: dict[str, str]) -> None:
    """Looks whether the template lets these parameters pass, and its command understands them."""
    for name, value in parameters.items():
        parameter = PARAMETERS[name]
        assert all(re.search(regex, value) for regex in parameter.get("regexes", ())), (name, value)
        if "enumOptions" in parameter:
            assert value in {option["value"] for option in parameter["enumOptions"]}
    command = parameters.get("command", "embed")
    words = [f"--{name}={value}" for name, value in parameters.items() if name != "command"]
    flags = [*launcher().flags_of(command, words), "--runner=DataflowRunner", "--no-wait"]
    options.parse(COMMANDS[command]._parser(), flags)


def instructions() -> Iterator[tuple[str, str]]:
    text = re.sub(r"\\\n", " ", (DEPLOY / "Dockerfile").read_text())
    for line in text.splitlines():
        if line and not line.startswith("#"):
            word, _, rest = line.partition(" ")
            yield word, rest.strip()


def test_images_are_pinned_and_of_the_beam_that_is_locked() -> None:
    stages: set[str] = set()
    for word, rest in instructions():
        if word == "FROM":
            image, _, name = rest.partition(" AS ")
            assert name, f"{rest}: a stage without a name"
            assert image in stages or re.search(r":\w*\d[\w.-]*$|@sha256:", image), f"{image} is not pinned"
            stages.add(name)
    assert {"worker", "template"} <= stages
    (locked,) = re.findall(r"^apache-beam==([\d.]+)", (ROOT / "requirements.lock").read_text(), re.M)
    assert f"FROM apache/beam_python3.11_sdk:{locked} AS sdk" in (DEPLOY / "Dockerfile").read_text()


def test_what_is_copied_into_an_image_is_there_and_not_ignored() -> None:
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    let_in = [line[1:] for line in ignored if line.startswith("!")]
    assert ignored[0] == "*"
    for word, rest in instructions():
        assert word != "ADD"
        if word == "COPY" and not rest.startswith("--from="):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert any(fnmatch.fnmatch(source, allowed) for allowed in let_in), f"{source} is ignored"


def test_nothing_secret_is_in_the_images_or_scripts() -> None:
    for path in DEPLOY.iterdir():
        if path.is_file() and path.suffix != ".md":
            assert not SECRET.search(path.read_text()), path


def test_the_image_s_build_calls_the_command_as_it_is() -> None:
    (run,) = [rest for word, rest in instructions() if word == "RUN" and "heliograph " in rest]
    (call,) = [part.strip() for part in run.split("&&") if part.strip().startswith("heliograph ")]
    _, name, *words = shlex.split(call)
    _, beam_args = options.parse(COMMANDS[name]._parser(), words)
    assert not beam_args


def test_parameters_of_the_template_are_flags_of_the_commands() -> None:
    own = {name: {o for a in c._parser()._actions for o in a.option_strings} for name, c in COMMANDS.items()}
    assert {option["value"] for option in PARAMETERS["command"]["enumOptions"]} == set(own)
    assert tuple(own) == launcher().COMMANDS
    of_beam = PipelineOptions(["--sdk_container_image=i"]).get_all_options(drop_default=True)
    for name, parameter in PARAMETERS.items():
        assert {"name", "label", "helpText", "isOptional"} <= parameter.keys()
        assert parameter.keys() <= {"name", "label", "helpText", "isOptional", "regexes", "paramType", "enumOptions"}
        flag = f"--{name.replace('_', '-')}"
        assert name in ("command", *of_beam) or any(flag in flags for flags in own.values()), name
    for name, command in COMMANDS.items():
        required = {action.dest for action in command._parser()._actions if action.required}
        assert required <= PARAMETERS.keys(), name


def test_parameters_become_flags() -> None:
    words = ["--shard_size=9", "--sync=true", "--no_report=false", "--input=gs://b/a=b", "--temp_location=gs://b/t"]
    expected = ["--shard-size=9", "--sync", "--input=gs://b/a=b", "--temp_location=gs://b/t"]
    assert launcher().flags_of("embed", words) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--command=train"], "parameter command must be one of embed, score, evaluate, got 'train'"),
        (["--store=gs://b/s"], "--input"),
        (["--input=gs://b/i", "--store=gs://b/s", "--shardsize=3"], "--shardsize is neither a flag of ours"),
        (["--input=gs://b/i", "--store=gs://b/s"], "--no-wait is for --runner=DataflowRunner"),
    ],
)
def test_a_wrong_launch_is_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert launcher().main(words) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_parsed(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True)


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("shellcheck") is None, reason="shellcheck is not installed: apt-get install shellcheck"
)
def test_scripts_are_sound() -> None:
    done = subprocess.run(["shellcheck", *map(str, SCRIPTS)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def calls_of(script: str, words: Sequence[str], tmp_path: Path, **settings: str) -> list[list[str]]:
    """Runs a script with tools that only write down how they were called."""
    log = tmp_path / "calls"
    for tool in ("docker", "gcloud"):
        (tmp_path / tool).write_text(
            f"#!{sys.executable}\n"
            "import json, sys\n"
            "words = [open(w).read() if '/tmp' in w and w[0] == '/' else w for w in sys.argv]\n"
            f"print(json.dumps([{tool!r}, *words[1:]]), file=open({str(log)!r}, 'a'))\n"
        )
        (tmp_path / tool).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", **settings}
    subprocess.run(["bash", str(DEPLOY / script), *words], env=environment, check=True, cwd=tmp_path)
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_build_makes_both_images_and_the_template(tmp_path: Path) -> None:
    calls = calls_of("build.sh", ["host/project/images", "7", "gs://b/heliograph.json"], tmp_path)
    assert [call[1] for call in calls] == ["build", "push", "build", "push", "dataflow"]
    assert [call[-1] for call in calls[1:4:2]] == [
        f"host/project/images/heliograph-{t}:7" for t in ("worker", "template")
    ]
    template = calls[-1]
    assert template[template.index("--image") + 1] == calls[3][-1]
    assert (ROOT / template[template.index("--metadata-file") + 1]).exists()


def test_the_scheduled_job_launches_the_template(tmp_path: Path) -> None:
    settings = {
        "PROJECT": "p",
        "REGION": "r",
        "TEMPLATE": "gs://b/heliograph.json",
        "INPUT": "gs://b/photos",
        "STORE": "gs://b/store",
        "WORKER_IMAGE": "host/project/images/heliograph-worker:7",
        "TEMP_LOCATION": "gs://b/temp",
        "SERVICE_ACCOUNT": "runs@p.iam.gserviceaccount.com",
    }
    (call,) = calls_of("schedule.sh", [], tmp_path, **settings)
    launch = json.loads(call[call.index("--message-body-from-file") + 1])["launchParameter"]
    assert launch["containerSpecGcsPath"] == settings["TEMPLATE"]
    assert launch["environment"]["serviceAccountEmail"] == settings["SERVICE_ACCOUNT"]
    check_launch(launch["parameters"])


def test_the_dag_launches_the_template(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks: list[dict[str, Any]] = []

    class Operator:
        def __init__(self, **arguments: Any) -> None:
            tasks.append(arguments)

        def __rshift__(self, other: Operator) -> Operator:
            return other

    class Dag(Operator):
        def __init__(self, **arguments: Any) -> None:
            self.arguments = arguments

        def __enter__(self) -> Dag:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    path = "airflow.providers.google.cloud.operators.dataflow"
    for name, contents in (("airflow", {"DAG": Dag}), (path, {"DataflowStartFlexTemplateOperator": Operator})):
        module = types.ModuleType(name)
        vars(module).update(contents)
        monkeypatch.setitem(sys.modules, name, module)
    runpy.run_path(str(DEPLOY / "airflow_dag.py"))
    assert [task["task_id"] for task in tasks] == ["embed", "score", "evaluate"]
    for task in tasks:
        parameters = task["body"]["launchParameter"]["parameters"]
        bare = {name: re.sub(r"{{ var.value.heliograph_bucket }}", "gs://b", v) for name, v in parameters.items()}
        check_launch({name: re.sub(r"{{.*?}}", "20260101", value) for name, value in bare.items()})
