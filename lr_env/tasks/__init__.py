"""Training problems: the `Task` interface, the registry and the tasks shipped."""

from lr_env.tasks.base import SPLITS, Split, Task
from lr_env.tasks.bundled import BreastCancer, Digits, Wine
from lr_env.tasks.cifar10 import Cifar10
from lr_env.tasks.family import FamilyTask, make_family_task
from lr_env.tasks.imdb import Imdb
from lr_env.tasks.registry import make_task, register_task, takes_argument, task_names
from lr_env.tasks.scales import DEFAULT_SCALE, SCALES, Scale
from lr_env.tasks.sst2 import Sst2
from lr_env.tasks.tensor_task import TensorTask
from lr_env.tasks.titanic import Titanic

DEFAULT_TASK = "digits"

for _task in (Digits, BreastCancer, Wine, Titanic, Cifar10, Imdb, Sst2):
    register_task(_task.name, _task)
register_task(FamilyTask.name, make_family_task)

__all__ = [
    "DEFAULT_SCALE",
    "DEFAULT_TASK",
    "SCALES",
    "SPLITS",
    "FamilyTask",
    "Scale",
    "Split",
    "Task",
    "TensorTask",
    "make_task",
    "register_task",
    "takes_argument",
    "task_names",
]
