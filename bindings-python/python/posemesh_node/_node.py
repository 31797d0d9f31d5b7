"""A running node, for programs with threads."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any

from . import _log, _native
from ._config import Options, Overrides, takes
from ._error import ForkedError, NotFoundError
from ._event import Event, Listener, check_listener
from ._exit import stop_at_exit
from ._http import Headers, HttpResponse
from ._mounted import expect_callbacks_if_mounted
from ._metrics import Readiness
from ._signer import take_signer
from ._stream import EventStream
from ._token import AccessToken
from ._typing import Self, Unpack

__all__ = ["Node"]


class NodeBase(_native.Node):
    """The methods that ``Node`` and ``AsyncNode`` share: those that do not wait."""

    def __new__(cls, *_: object, **__: object) -> Self:
        name = cls.__name__
        raise TypeError(f"{name}(...) does not start a node: use {name}.start(...) or {name}.from_env()")

    @classmethod
    def _adopt(cls, started: _native.Started) -> Self:
        """Turn a started node into an instance of this class, which is stopped at the latest when the program exits."""
        node = super().__new__(cls, started)
        stop_at_exit(node)
        expect_callbacks_if_mounted(node)
        return node

    def invalidate_token(self, token: AccessToken | str | None = None) -> None:
        """Discard the access token that the node holds, and sign in for a new one.

        Pass the ``token`` that a service has refused. It is discarded only if the node still holds it, so that
        many callers that were refused with the same token cause one sign-in. Without a ``token``, any token is
        discarded. The node signs in at once, unless the token itself replaced a refused one less than a second ago;
        then it waits for the rest of that second.
        """
        value: Any = token.value if isinstance(token, AccessToken) else token
        if value is not None and not isinstance(value, str):
            raise TypeError(f"token must be an AccessToken, a str or None, not {type(value).__name__}")
        self._invalidate_token(value)

    def ready(self, secret: bool = False) -> Readiness:
        """Whether the node is running and registered and, with ``secret``, has a secret; and why not.

        Returns a pair, which is true in an ``if`` when the node is ready:

            ready, reason = node.ready()

        Reads memory and never blocks. A node that has been stopped is not ready.
        """
        return Readiness(*self._ready(secret))

    def off_event(self, listener: Callable[[Event], object]) -> bool:
        """Remove a listener that ``on_event`` added. Returns False if there is none, such as after a stop."""
        return self._remove_listener(listener)

    def __repr__(self) -> str:
        name = type(self).__name__
        try:
            status = self.status()
        except ForkedError:
            return f"<{name} of another process>"
        try:
            identity = self.wallet_address
        except NotFoundError:
            identity = "robot" if status.node_id is None else f"robot {status.node_id}"
        return f"<{name} {identity} {status.state if status.running else 'stopped'}>"

    def __del__(self) -> None:
        # Freeing the object, right after this method, stops the node.
        if self._is_running():
            warnings.warn(f"unclosed {self!r}: call stop(), or use it in a with statement", ResourceWarning, 2, self)


class Node(NodeBase):
    """A node that registers with DDS and stays registered until it is stopped.

    Every method may be called from any thread, and waits let other threads run. Use it in a ``with`` statement, or
    call ``stop``. A node that is still running when the interpreter exits is stopped then.

    After a fork, a node belongs to the parent process: in the child its methods raise ForkedError, and the child may
    start a node of its own.

        with Node.from_env() as node:
            node.wait_registered(timeout=30)
            token = node.access_token(timeout=30)
    """

    @classmethod
    @takes(Options)
    def start(cls, **options: Unpack[Options]) -> Self:
        """Check the options, bind the callback address, and start to register. Does not wait for DDS.

        Required:

        reg_secret: str
            The registration credentials from the console; sent unchanged. A robot's are also read from ROBOT_REGISTRATION_CREDENTIALS.
        capabilities: Sequence[str] | str
            What the node can do, such as /reconstruction/global-refinement/v1. A robot need not name any.
        node_version: str
            The version of the node's own software.

        Optional (None is the same as leaving one out):

        identity: str = "wallet"
            How the node identifies itself to DDS: with a wallet, or as a robot, which has no key.
        secp256k1_privhex: str
            The private key of the node's wallet; required unless secp256k1_keystore_file is set. A robot has none.
        secp256k1_keystore_file: str | os.PathLike[str]
            An encrypted file with the private key, in place of secp256k1_privhex.
        secp256k1_keystore_password: str
            The password of secp256k1_keystore_file.
        signer: Signer
            Signs in place of a private key: an eth-account LocalAccount, or any object with address and sign_message.
        dds_base_url: str = "https://dds.auki.network"
            The discovery service to register with.
        max_concurrency: int
            How many jobs the node takes at a time; not sent when not set.
        register_interval_secs: int = 120
            Seconds between attempts after a conflict, a lasting refusal, or max_retry failures.
        max_retry: int = -1
            Failures in a row after which the registrar pauses for one interval; -1 = never.
        request_timeout_secs: int = 10
            Seconds that one request to DDS may take, from connecting to the last byte.
        reregister_secs: int = 0
            Seconds after which a registered node registers again in the background, ±20 %; 0 = never.
        callback_bind: str
            The address that the callback server listens on; there is no server unless it is set.
        callback_policy: str = "per_registration"
            Which secret wins among the callbacks that confirm a registration: the first one, or with open the last one.
        healthcheck_ttl_secs: int = 0
            Seconds without a health probe, after a first one, until the node registers again; 0 = never.
        callback_path: str = "/"
            The path under which the callback server has its routes; never logged, so it may be a secret one.
        callback_allow: Sequence[str] | str
            Who may call the callback server, by address; others get 403. Without it, everyone may.
        trusted_proxies: Sequence[str] | str
            Proxies whose X-Forwarded-For says who calls the callback server, for callback_allow.
        callback_tls_cert: str | os.PathLike[str]
            The certificate of the callback server, with its chain; the server then speaks TLS. Read again when it changes.
        callback_tls_key: str | os.PathLike[str]
            The private key of callback_tls_cert. Read again when it changes.
        callback_tls_client_ca: str | os.PathLike[str]
            Certificate authorities, one of which must have issued the certificate of who calls the callback server.
        admin_bind: str
            The address where this process serves /livez, /readyz and /metrics; there is no such server unless it is set.
        node_url: str
            The URL at which DDS reaches this node's callback routes, for the legacy registration.
        siwe_domain: str
            The domain the node agrees to sign in to; by default that of dds_base_url, any = no check.
        siwe_format: str = "posemesh"
            The form of the signed message: DDS's own, or strict EIP-4361.
        state_dir: str | os.PathLike[str]
            A directory for state that outlives the process and is shared by the processes of a node.
        state_url: str
            A Redis, Valkey or etcd that makes replicas on several machines one node; not with state_dir.
        ca_file: str | os.PathLike[str]
            Certificate authorities to trust in addition to the system's, such as a company proxy's.
        allow_insecure_http: bool = False
            Allows http to a DDS on another machine; the credentials are then sent unencrypted.

        Raises ConfigError, AlreadyRunningError, BindError, NodeIOError, and TypeError for a value of the
        wrong type or an unknown option.
        """
        return cls._start(options, from_env=False)

    @classmethod
    @takes(Overrides)
    def from_env(cls, **overrides: Unpack[Overrides]) -> Self:
        """Start a node with options from the environment, such as DDS_BASE_URL or REG_SECRET.

        The environment variable of an option is its name in capitals, except that max_retry is REGISTER_MAX_RETRY.
        A variable with the prefix POSEMESH_ takes precedence over the one without it. A secret can be in a file
        instead: REG_SECRET_FILE is its path. A blank variable counts as unset. Keyword arguments are those of
        ``start`` and take precedence over the environment.
        """
        return cls._start(overrides, from_env=True)

    @classmethod
    def _start(cls, options: Options | Overrides, *, from_env: bool) -> Self:
        signer = take_signer(options, None)
        config = _native.Config(options, from_env=from_env, signer=signer)
        _log.install()
        return cls._adopt(_native.start(config))

    def wait_registered(self, timeout: float | None = None) -> None:
        """Wait until the node is registered. Without a timeout, wait as long as it takes.

        The wait does not end when DDS refuses the node, because the node tries again. ``status().last_error`` and
        ``AttemptFailed`` say why.

        Raises NodeTimeoutError, or StoppedError if the node stops meanwhile. Ctrl-C ends the wait.
        """
        self._wait(False, timeout)

    def wait_secret(self, timeout: float | None = None) -> str:
        """Wait until DDS has sent a secret, and return it. Without a timeout, wait as long as it takes.

        Raises NotFoundError at once if no secret can arrive: the node has none, none of ``callback_bind``, ``node_url``,
        ``state_dir`` and ``state_url`` is set, and its routes do not run in the program's web server. Otherwise raises
        NodeTimeoutError, or StoppedError if the node stops meanwhile. Ctrl-C ends the wait.
        """
        self._wait(True, timeout)
        return held_secret(self)

    def handle_request(
        self, method: str, path: str, headers: Headers, body: bytes = b"", *, timeout: float | None = 5.0
    ) -> HttpResponse | None:
        """Handle a request that DDS has sent to the web server of the program.

        This is for web frameworks without an adapter; ``posemesh_node.asgi``, ``posemesh_node.wsgi`` and
        ``posemesh_node.aiohttp`` call it for you. Returns None if the request is not for the node: continue with the
        program's own routes. Otherwise send the response to the client.

        method: str
            The method, such as POST.
        path: str
            The path, with or without a query, and without the prefix under which the program has the routes.
        headers: Headers
            A mapping, or pairs of a name and a value; each a str or bytes.
        body: bytes
            The body, of which core refuses more than 256 KiB with 413. So read at most one byte more.
        timeout: float | None
            Seconds to wait. The response is usually there at once; it has to wait if the node has a ``state_dir`` or
            ``state_url``, for the store or for the process that leads the node.

        While the node cannot accept a callback, such as after a stop, the response is 503 with a Retry-After header.
        Raises NodeTimeoutError, ForkedError, and TypeError for a value of the wrong type. Ctrl-C ends the wait.
        """
        return self._handle_request(method, path, headers, body, timeout)

    def on_event(self, listener: Listener) -> Listener:
        """Call ``listener`` with each event from now on, until ``off_event`` or the node stops. Works as a decorator.

        It is called on a thread of the library, with one event at a time, and may call any method except ``stop``.
        An exception that it raises is passed to ``sys.unraisablehook``.
        """
        check_listener(listener)
        self._add_listener(listener, listener)
        return listener

    def events(self, timeout: float | None = None) -> EventStream:
        """Iterate over the events from now on, until the node stops or ``timeout`` seconds have passed.

            for event in node.events(timeout=60):
                match event:
                    case TokenRefreshed():
                        use(node.access_token())
        """
        return EventStream(self, timeout)

    def stop(self, timeout: float | None = 5.0) -> None:
        """Stop the node: end every wait with StoppedError, deliver the last events, free the port.

        May be called more than once. Raises NodeTimeoutError if an event listener or a logging handler does not
        return in time, and WouldDeadlockError if it is called in one. Ctrl-C ends the wait, and the node still stops.
        """
        self._stop(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def held_secret(node: NodeBase) -> str:
    """The secret, after a wait for it. It may have been replaced since then, but never removed."""
    secret = node.read_secret()
    assert secret is not None
    return secret
