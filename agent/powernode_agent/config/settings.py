"""agent.toml -> `Settings`: all that is particular to this host, checked before anything runs.

A file that breaks a rule is refused with file, key, value and expectation, and a key nobody knows is
refused with the nearest one that exists: a typing mistake must never become a silent default. The
file holds no secret, so that everyone who may ask the daemon may also read where to find it.

The standard library reads it (tomllib). pydantic-settings would have done the same for 10 MB of
resident memory and a quarter of a second at each start of the command line, which answers within
that time; forty typed keys do not earn it. Imports nothing of ours but `errors`.
"""

from __future__ import annotations

import socket
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from ipaddress import IPv6Address
from pathlib import Path
from typing import Final

from powernode_agent.config.table import ConfigError, Table

DEFAULT_FILE: Final = Path("/etc/powernode-agent/agent.toml")
FILE_VARIABLE: Final = "POWERNODE_AGENT_CONFIG"
"""Environment variable that names the file, for hosts and tests that keep it elsewhere."""


class BackendChoice(Enum):
    """How WireGuard shall run. AUTO: the kernel's if it has one, else wireguard-go."""

    AUTO = "auto"
    KERNEL = "kernel"
    USERSPACE = "userspace"


class LogFormat(Enum):
    JSON = "json"
    CONSOLE = "console"


@dataclass(frozen=True, slots=True)
class HostPort:
    """A TCP address; `host` is a name or an address without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class PlatformSettings:
    """Where the platform is. Both addresses None: none (the node runs from a file).

    `address` None with an `enrolment_address`: the platform tells its address at enrolment.
    """

    address: HostPort | None = None
    enrolment_address: HostPort | None = None
    ca_file: Path = Path("/etc/powernode-agent/platform-ca.pem")
    token_file: Path = Path("/etc/powernode-agent/enrolment-token")


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """`name` is shown until the platform gives one; `desired_state_file` replaces the platform."""

    name: str
    desired_state_file: Path | None = None


@dataclass(frozen=True, slots=True)
class WireguardSettings:
    """`wireguard_go` is the program: a name to find in PATH, or an absolute path."""

    backend: BackendChoice = BackendChoice.AUTO
    wireguard_go: str = "wireguard-go"


class FrrSupervisor(Enum):
    """Who starts and ends FRR's daemons. AUTO: systemd where it runs, else the agent."""

    AUTO = "auto"
    SYSTEMD = "systemd"
    AGENT = "agent"


@dataclass(frozen=True, slots=True)
class FrrSettings:
    """`adopt`: take over a frr.conf that somebody else wrote. `programs`: where the daemons are; `run`:
    their sockets; `config`: frr.conf and the daemons file."""

    adopt: bool = False
    supervisor: FrrSupervisor = FrrSupervisor.AUTO
    programs: Path = Path("/usr/lib/frr")
    run: Path = Path("/run/frr")
    config: Path = Path("/etc/frr")


@dataclass(frozen=True, slots=True)
class K3sSettings:
    """`config`: the directory of k3s's drop-ins; `subnet_file`: where flannel says which pods are here;
    `restart_program`: what restarts k3s, None: systemd, where it runs."""

    config: Path = Path("/etc/rancher/k3s/config.yaml.d")
    subnet_file: Path = Path("/run/flannel/subnet.env")
    restart_program: Path | None = None


@dataclass(frozen=True, slots=True)
class ReportSettings:
    """`interval_s`: seconds between full reports; changes are reported at once."""

    interval_s: float = 30.0


@dataclass(frozen=True, slots=True)
class ReconcileSettings:
    """`safety_interval_s`: seconds between passes that nothing asked for; `poll_interval_ms`: how
    often handshakes and counters are read, for which no kernel sends events."""

    safety_interval_s: float = 60.0
    poll_interval_ms: int = 500


@dataclass(frozen=True, slots=True)
class HealthSettings:
    """`patience` multiplies how long a finding must last before it is told (agent/HEALTH.md)."""

    patience: float = 1.0


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """`listen` None: no metrics are served."""

    listen: HostPort | None = HostPort("::1", 9547)


@dataclass(frozen=True, slots=True)
class LogSettings:
    level: str = "info"
    format: LogFormat = LogFormat.JSON


@dataclass(frozen=True, slots=True)
class Directories:
    """`wireguard_sockets` is fixed in wireguard-go's source; only a patched build moves it."""

    state: Path = Path("/var/lib/powernode-agent")
    run: Path = Path("/run/powernode-agent")
    wireguard_sockets: Path = Path("/var/run/wireguard")

    @property
    def control_socket(self) -> Path:
        """Where the daemon listens for the command line."""
        return self.run / "control.sock"


@dataclass(frozen=True, slots=True)
class Settings:
    """All of it. `file` is where it came from; None: built-in defaults."""

    file: Path | None
    platform: PlatformSettings
    node: NodeSettings
    wireguard: WireguardSettings = field(default_factory=WireguardSettings)
    frr: FrrSettings = field(default_factory=FrrSettings)
    k3s: K3sSettings = field(default_factory=K3sSettings)
    report: ReportSettings = field(default_factory=ReportSettings)
    reconcile: ReconcileSettings = field(default_factory=ReconcileSettings)
    health: HealthSettings = field(default_factory=HealthSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    log: LogSettings = field(default_factory=LogSettings)
    directories: Directories = field(default_factory=Directories)


def load_settings(
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    hostname: Callable[[], str] = socket.gethostname,
) -> Settings:
    """Settings from `file`, else from the file the environment names, else from the usual place.

    A file that was asked for must exist; the usual one may be missing, and then the defaults hold.
    Raises `ConfigError`.
    """
    named = file
    if named is None and environment is not None and environment.get(FILE_VARIABLE):
        named = Path(environment[FILE_VARIABLE])
    source = named or DEFAULT_FILE
    try:
        text = source.read_bytes()
    except FileNotFoundError:
        if named is None:
            return _parse(Table.root("(defaults)", {}), None, hostname)
        raise ConfigError(
            "cannot read the configuration",
            which=str(source),
            value="no such file",
            expected="a TOML file",
            action="name an existing file with --config, or leave the option out",
        ) from None
    except OSError as error:
        raise ConfigError(
            "cannot read the configuration",
            which=str(source),
            value=error.strerror or str(error),
            expected="a TOML file that this user may read",
            action=f"ls -l {source}",
        ) from error
    return parse_settings(text, source, hostname)


def parse_settings(
    text: bytes, source: Path, hostname: Callable[[], str] = socket.gethostname
) -> Settings:
    """Settings from the text of a file; `source` names it in errors. Raises `ConfigError`."""
    try:
        document = tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            "cannot read the configuration",
            which=str(source),
            value=str(error),
            expected="TOML in UTF-8",
            action=f"correct {source}",
        ) from error
    return _parse(Table.root(str(source), document), source, hostname)


def with_desired_state(settings: Settings, file: Path) -> Settings:
    """The same settings, run from `file` and without a platform: what `--desired-state` asks for."""
    platform = replace(settings.platform, address=None, enrolment_address=None)
    node = replace(settings.node, desired_state_file=file.absolute())
    return replace(settings, platform=platform, node=node)


def check_runnable(settings: Settings) -> None:
    """Raises `ConfigError` unless the settings say where desired state comes from."""
    platform = settings.platform
    if platform.address or platform.enrolment_address or settings.node.desired_state_file:
        return
    raise ConfigError(
        "nothing says where desired state comes from",
        which=str(settings.file or DEFAULT_FILE),
        value="neither [platform] address or enrolment_address nor [node] desired_state_file",
        expected="one of them",
        action=f"set [platform] enrolment_address in {settings.file or DEFAULT_FILE}",
    )


def parse_host_port(text: str) -> HostPort:
    """`host:port`, `203.0.113.5:443` or `[2001:db8::5]:443`. Raises ValueError."""
    host, separator, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = str(IPv6Address(host[1:-1]))
    elif ":" in host:
        raise ValueError("an IPv6 address needs brackets")
    if not separator or not host or any(c.isspace() or c == "/" for c in host):
        raise ValueError("no host")
    if not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise ValueError("no port")
    return HostPort(host, int(port))


def _parse(root: Table, source: Path | None, hostname: Callable[[], str]) -> Settings:
    platform = root.section("platform")
    node = root.section("node")
    wireguard = root.section("wireguard")
    frr = root.section("frr")
    k3s = root.section("k3s")
    report = root.section("report")
    reconcile = root.section("reconcile")
    health = root.section("health")
    metrics = root.section("metrics")
    log = root.section("log")
    directories = root.section("directories")
    places = Directories()
    settings = Settings(
        file=source,
        platform=PlatformSettings(
            address=_address(platform, "address", ""),
            enrolment_address=_address(platform, "enrolment_address", ""),
            ca_file=platform.path("ca_file", PlatformSettings().ca_file),
            token_file=platform.path("token_file", PlatformSettings().token_file),
        ),
        node=NodeSettings(
            name=_node_name(node, hostname),
            desired_state_file=node.optional_path("desired_state_file"),
        ),
        wireguard=WireguardSettings(
            backend=BackendChoice(
                wireguard.choice("backend", "auto", [choice.value for choice in BackendChoice])
            ),
            wireguard_go=wireguard.text("wireguard_go", "wireguard-go", empty=False),
        ),
        frr=FrrSettings(
            adopt=frr.boolean("adopt", False),
            supervisor=FrrSupervisor(
                frr.choice("supervisor", "auto", [each.value for each in FrrSupervisor])
            ),
            programs=frr.path("programs", FrrSettings().programs),
            run=frr.path("run", FrrSettings().run),
            config=frr.path("config", FrrSettings().config),
        ),
        k3s=K3sSettings(
            config=k3s.path("config", K3sSettings().config),
            subnet_file=k3s.path("subnet_file", K3sSettings().subnet_file),
            restart_program=k3s.optional_path("restart_program"),
        ),
        report=ReportSettings(report.number("interval_s", 30.0, 1, 3600)),
        reconcile=ReconcileSettings(
            safety_interval_s=reconcile.number("safety_interval_s", 60.0, 1, 3600),
            poll_interval_ms=reconcile.integer("poll_interval_ms", 500, 50, 60_000),
        ),
        health=HealthSettings(health.number("patience", 1.0, 0.01, 100)),
        metrics=MetricsSettings(_address(metrics, "listen", "[::1]:9547")),
        log=LogSettings(
            level=log.choice("level", "info", ["debug", "info", "warning", "error"]),
            format=LogFormat(log.choice("format", "json", [form.value for form in LogFormat])),
        ),
        directories=Directories(
            state=directories.path("state", places.state),
            run=directories.path("run", places.run),
            wireguard_sockets=directories.path("wireguard_sockets", places.wireguard_sockets),
        ),
    )
    for table in (
        root, platform, node, wireguard, frr, k3s, report, reconcile, health, metrics, log,
        directories,
    ):  # fmt: skip
        table.refuse_unknown()
    if settings.node.desired_state_file and settings.platform.address:
        raise node.error(
            "desired_state_file",
            settings.node.desired_state_file,
            'only one source of desired state: leave it out, or leave [platform] address ""',
        )
    return settings


def _address(table: Table, key: str, default: str) -> HostPort | None:
    text = table.text(key, default)
    if not text:
        return None
    try:
        return parse_host_port(text)
    except ValueError:
        raise table.error(
            key, text, '"host:port" or "[IPv6 address]:port", port 1 to 65535, or ""'
        ) from None


def _node_name(table: Table, hostname: Callable[[], str]) -> str:
    name = table.text("name", "") or hostname()
    if not 1 <= len(name) <= 63 or not name.isprintable():
        raise table.error("name", name, '1 to 63 printable characters, or "" for the host name')
    return name
