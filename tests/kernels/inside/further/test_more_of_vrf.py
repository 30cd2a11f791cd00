"""More of what tests/path/test_tenants.py says of tenants, each in a VRF."""

from tests.path.test_tenants import (
    blue,
    red,
    test_a_tenant_reaches_itself_by_its_global_address,
    test_all_to_one_server_from_one_port,
    test_commands_know_the_tenants,
    test_explain_says_what_happens,
    test_one_client_port_to_the_same_host_of_each_tenant,
    test_only_the_tenant_that_was_asked_may_answer,
    test_to_a_tenant_from_the_address_of_an_uplink,
    test_what_is_inside_stays_inside,
    test_without_an_entry_nothing_leaves_a_tenant,
)

__all__ = [
    "blue",
    "red",
    "test_a_tenant_reaches_itself_by_its_global_address",
    "test_all_to_one_server_from_one_port",
    "test_commands_know_the_tenants",
    "test_explain_says_what_happens",
    "test_one_client_port_to_the_same_host_of_each_tenant",
    "test_only_the_tenant_that_was_asked_may_answer",
    "test_to_a_tenant_from_the_address_of_an_uplink",
    "test_what_is_inside_stays_inside",
    "test_without_an_entry_nothing_leaves_a_tenant",
]
