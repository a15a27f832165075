"""Checks that authors of methods run on their own classes."""

from __future__ import annotations

from dropkd.testing.contract import ContractError, check_method

__all__ = ["ContractError", "check_method"]
