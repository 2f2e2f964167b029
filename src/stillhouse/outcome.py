"""What a run produced -> metrics.json and predictions.jsonl, the record that every table and report is made from."""

from __future__ import annotations

import json
import math
import resource
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stillhouse.benchmark.latency import measure_latency, random_inputs
from stillhouse.benchmark.size import count_parameters, weights_mib
from stillhouse.data.task import MetricName
from stillhouse.evaluation.compare import Comparison, compare_to_teacher, difference, scores_of
from stillhouse.evaluation.evaluate import Predictions, Split, readable
from stillhouse.files import write_json, write_text
from stillhouse.models.adapter import input_names
from stillhouse.prepare import Model, Prepared, data_name
from stillhouse.run_folder import METRICS, PREDICTIONS, RunFolder
from stillhouse.training.engine import environment
from stillhouse.training.trainer import StageResult
