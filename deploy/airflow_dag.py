"""A DAG for Airflow: every night what is new is embedded, then all of it scored and measured.

Settings are variables of Airflow's: heliograph_project, _region, _template, _worker_image, _bucket.
"""

from __future__ import annotations

import datetime

from airflow import DAG
from airflow.providers.google.cloud.operators.dataflow import DataflowStartFlexTemplateOperator

BUCKET = "{{ var.value.heliograph_bucket }}"
STEPS = {
    "embed": {"input": f"{BUCKET}/photos", "store": f"{BUCKET}/store", "max_failures": "1%"},
    "score": {
        "store": f"{BUCKET}/store",
        "model": f"{BUCKET}/models/photos@production",
        "output": f"{BUCKET}/predictions/{{{{ ds }}}}",
    },
    "evaluate": {
        "predictions": f"{BUCKET}/predictions/{{{{ ds }}}}",
        "output": f"{BUCKET}/reports/{{{{ ds }}}}",
    },
}
"""Command to parameters of the template; a day's run has a name of its own, so that a repetition publishes once."""


def launch(command: str) -> DataflowStartFlexTemplateOperator:
    """Returns the task that launches a command's job and waits for its end."""
    parameters = {"command": command, "sdk_container_image": "{{ var.value.heliograph_worker_image }}"}
    return DataflowStartFlexTemplateOperator(
        task_id=command,
        project_id="{{ var.value.heliograph_project }}",
        location="{{ var.value.heliograph_region }}",
        body={
            "launchParameter": {
                "jobName": f"heliograph-{command}-{{{{ ds_nodash }}}}",
                "containerSpecGcsPath": "{{ var.value.heliograph_template }}",
                "parameters": {**parameters, **STEPS[command], "run_id": f"{command}-{{{{ ds_nodash }}}}"},
                "environment": {"tempLocation": f"{BUCKET}/temp", "machineType": "n2-standard-8"},
            }
        },
    )


with DAG(
    dag_id="heliograph_nightly",
    schedule="0 2 * * *",
    start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": datetime.timedelta(minutes=10)},
):
    launch("embed") >> launch("score") >> launch("evaluate")
