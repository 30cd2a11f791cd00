"""Tenants whose interfaces belong to a VRF each: what tests/path/test_tenants.py says of them."""

from tests.path.test_tenants import (
    blue,
    red,
    test_a_tenant_is_reached_by_its_global_address,
    test_from_tenant_to_tenant,
    test_one_address_and_port_in_each_tenant_at_once,
)

__all__ = [
    "blue",
    "red",
    "test_a_tenant_is_reached_by_its_global_address",
    "test_from_tenant_to_tenant",
    "test_one_address_and_port_in_each_tenant_at_once",
]
