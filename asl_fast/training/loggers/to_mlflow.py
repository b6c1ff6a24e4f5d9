# SPDX-License-Identifier: Apache-2.0
"""What a run measures in MLflow."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from typing import Any

from asl_fast.training.callback import UNITS, Callback, Record, RunStart, numbers
from asl_fast.training.loggers.memory import note, recall
from asl_fast.training.serialization import flatten

# What servers take in one request, and in one value.
_MOST_METRICS, _MOST_PARAMS, _LONGEST = 1000, 100, 500


class MlflowLogger(Callback):
    """Writes records to MLflow: to ``MLFLOW_TRACKING_URI``, or to ``mlflow.db`` beside the run folder.

    The experiment is ``MLFLOW_EXPERIMENT_NAME``, or the data set. ``mlflow ui --backend-store-uri
    sqlite:///runs/mlflow.db`` shows all runs.
    """

    name = "mlflow"

    def __init__(self) -> None:
        self._client: Any = None
        self._run_id = ""
        self._start: RunStart | None = None
        self._next_step = 0

    def started(self, run: RunStart) -> None:
        """Begin a run there, or go on with the one that a resumed run began.

        Raises:
            Exception: What MLflow raises where it cannot reach or write its store.
        """
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        database = run.folder.path.resolve().parent / "mlflow.db"
        self._client = MlflowClient(tracking_uri=os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{database}"))
        self._start = run
        before = recall(run.folder, self.name)
        if before:
            self._run_id, self._next_step = before["run_id"], before["next_step"]
            self._client.update_run(self._run_id, status="RUNNING")
            return
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", run.config.dataset)
        found = self._client.get_experiment_by_name(name)
        experiment = self._client.create_experiment(name) if found is None else found.experiment_id
        tags = {"run_folder": str(run.folder.path.resolve()), "units": json.dumps(dict(UNITS))}
        self._run_id = self._client.create_run(experiment, run_name=run.folder.path.name, tags=tags).info.run_id
        self._note()
        params = [Param(key, str(value)[:_LONGEST]) for key, value in flatten(run.config).items()]
        for first in range(0, len(params), _MOST_PARAMS):
            self._client.log_batch(self._run_id, params=params[first : first + _MOST_PARAMS])

    def logged(self, records: Sequence[Record]) -> None:
        """Write ``step/total``, ``epoch/seconds`` and so on; what an earlier start of the run wrote is left out.

        MLflow has no ``@`` in names: ``map@0.5`` is ``map_at_0.5`` there.
        """
        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        metrics = [
            Metric(f"{record['kind']}/{name}".replace("@", "_at_"), value, now_ms, record["step"])
            for record in records
            if record["step"] >= self._next_step
            for name, value in numbers(record).items()
        ]
        for first in range(0, len(metrics), _MOST_METRICS):
            self._client.log_batch(self._run_id, metrics=metrics[first : first + _MOST_METRICS])
        self._next_step = max(self._next_step, *(record["step"] + 1 for record in records))
        self._note()

    def ended(self) -> None:
        """Mark the run as finished."""
        self._client.set_terminated(self._run_id, "FINISHED")

    def failed(self, error: BaseException) -> None:
        """Mark the run as failed, or as stopped by hand."""
        self._client.set_terminated(self._run_id, "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")

    def _note(self) -> None:
        assert self._start is not None
        note(self._start.folder, self.name, {"run_id": self._run_id, "next_step": self._next_step})
