"""Networks ready to build: `lenet5(...)` or `create("lenet5", ...)`; `list()` names them all."""

from .lenet import lenet5
from .registry import Network, create, info, list_networks, register

# fastconv.models.list() reads best from outside; in here it would hide the builtin.
list = list_networks

__all__ = ["Network", "create", "info", "lenet5", "list", "register"]
