"""Checks that authors of methods run on their own classes."""

from __future__ import annotations

from dropkd.testing.contract import ContractError, check_method
from dropkd.testing.waits import Wait, find_waits, record_waits

__all__ = ["ContractError", "Wait", "check_method", "find_waits", "record_waits"]
