import pytest

from tests.support.personal_data import values


@pytest.mark.parametrize("address", ["10.0.0.12", "2001:db8::8a2e:370:7334", "d80:e4b5:79da:6cf6:71f3:51f7:9161:c319"])
def test_an_ip_address_is_recognised(address):
    assert values(f"from {address}, again") == [("ip", address)]


def test_versions_times_names_of_code_and_the_machine_itself_are_no_ip_addresses():
    for text in ("v1.2.3.4", "version 10.0.0.1", "1.2.3.400", "12:30:45", "a1::b2", "127.0.0.1", "::1", "1.2.3.4.5"):
        assert values(text) == []


@pytest.mark.parametrize("address", ["00:1B:44:11:3A:B7", "00-1b-44-11-3a-b7", "001b.4411.3ab7"])
def test_a_mac_address_is_recognised(address):
    assert values(f"device {address}") == [("mac", address)]
    assert values("device 00:00:00:00:00:00") == []


def test_the_name_and_password_of_a_url_are_recognised_and_its_address_stays():
    assert values("see https://bob:s3cret@example.com/x1") == [("url_credentials", "bob:s3cret")]
    assert values("see https://example.com:8080/x@y1") == []
