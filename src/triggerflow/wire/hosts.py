"""Which host names and addresses are local: connections to them do not leave this machine."""

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Whether a name or address of a host, without a port, always means this machine: "localhost" or a loopback
    address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
