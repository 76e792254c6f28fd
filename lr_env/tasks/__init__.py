"""Training problems: the `Task` interface, the registry and the tasks shipped."""

from lr_env.tasks.base import SPLITS, Split, Task
from lr_env.tasks.family import FamilyTask
from lr_env.tasks.registry import make_task, register_task, task_names
from lr_env.tasks.tensor_task import TensorTask

__all__ = [
    "SPLITS",
    "FamilyTask",
    "Split",
    "Task",
    "TensorTask",
    "make_task",
    "register_task",
    "task_names",
]
