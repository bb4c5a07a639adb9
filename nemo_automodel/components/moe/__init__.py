"""Mixtures of experts: routers, experts, their balance, and how they spread over processes."""
