"""The TCP proxy of the tests forwards, and fails as a network does."""

import asyncio
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import psycopg
import pytest

from support.programs.program import free_ports
from support.servers.tcp import TcpServer
from support.servers.tcp_proxy import TcpProxy


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back each line."""
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    """Connect to a loopback port; reading waits for 0.3 seconds."""
    with socket.create_connection(("127.0.0.1", port), timeout=0.3) as connection:
        yield connection


async def exchange(connection: socket.socket, line: bytes) -> bytes:
    """Send a line, and return what comes back."""

    def send_and_receive() -> bytes:
        connection.sendall(line)
        return connection.recv(100)

    return await asyncio.to_thread(send_and_receive)


async def test_a_connection_is_forwarded_in_both_directions():
    """The proxy changes nothing, and counts its connections."""
    async with TcpServer(echo) as server:
        with TcpProxy(server.port) as proxy, connected(proxy.port) as connection:
            assert b"ping\n" == await exchange(connection, b"ping\n")
            assert (1, 1) == (proxy.connections, proxy.accepted)


async def test_the_end_of_one_direction_is_forwarded():
    """After the client's end of data the server may still send."""

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"%d bytes" % len(await reader.read()))
        await writer.drain()

    async with TcpServer(count) as server:
        with TcpProxy(server.port) as proxy, connected(proxy.port) as connection:
            connection.sendall(b"x" * 200_000)
            connection.shutdown(socket.SHUT_WR)
            assert b"200000 bytes" == await asyncio.to_thread(connection.recv, 100)


async def test_a_cut_is_silent_and_data_arrives_after_it_has_healed():
    """During a cut nothing arrives and nothing is closed; afterwards the network delivers what it has kept."""
    async with TcpServer(echo) as server:
        with TcpProxy(server.port) as proxy, connected(proxy.port) as connection:
            await exchange(connection, b"before\n")
            proxy.cut()
            with pytest.raises(TimeoutError):
                await exchange(connection, b"during\n")
            proxy.heal()
            assert b"during\n" == await asyncio.to_thread(connection.recv, 100)


async def test_a_new_connection_during_a_cut_waits():
    """A connection that is opened during a cut reaches the server only after it has healed."""
    async with TcpServer(echo) as server:
        with TcpProxy(server.port) as proxy:
            proxy.cut()
            with connected(proxy.port) as connection:
                with pytest.raises(TimeoutError):
                    await exchange(connection, b"ping\n")
                assert 0 == server.connections
                proxy.heal()
                assert b"ping\n" == await asyncio.to_thread(connection.recv, 100)


@pytest.mark.parametrize("cut", [False, True])
async def test_a_reset_ends_the_connections_of_both_sides(cut):
    """The client sees ECONNRESET, the server its end, and the next connection works; also out of a cut."""
    async with TcpServer(echo) as server:
        with TcpProxy(server.port) as proxy:
            with connected(proxy.port) as connection:
                await exchange(connection, b"ping\n")
                if cut:
                    proxy.cut()
                proxy.reset()
                with pytest.raises(ConnectionResetError):
                    await asyncio.to_thread(connection.recv, 100)
            while server.connections:
                await asyncio.sleep(0)
            proxy.heal()
            with connected(proxy.port) as connection:
                assert b"again\n" == await exchange(connection, b"again\n")


async def test_new_connections_are_refused_until_healed():
    """A refused connection is reset before anything arrives."""
    async with TcpServer(echo) as server:
        with TcpProxy(server.port) as proxy:
            proxy.refuse()
            with pytest.raises(ConnectionError), connected(proxy.port) as connection:
                await exchange(connection, b"ping\n")
            proxy.heal()
            with connected(proxy.port) as connection:
                assert b"ping\n" == await exchange(connection, b"ping\n")


async def test_a_delay_holds_each_direction():
    """An answer that takes two delays does not arrive within the timeout, and arrives later."""
    async with TcpServer(echo) as server:
        with TcpProxy(server.port) as proxy, connected(proxy.port) as connection:
            proxy.delay(0.2)
            with pytest.raises(TimeoutError):
                await exchange(connection, b"slow\n")
            assert b"slow\n" == await asyncio.to_thread(connection.recv, 100)


def test_a_target_that_does_not_listen_closes_the_connection():
    """The client notices it, and the proxy goes on."""
    with TcpProxy(free_ports(1)[0]) as proxy:
        for _ in range(2):
            with connected(proxy.port) as connection, suppress(ConnectionResetError):
                assert b"" == connection.recv(100)


@pytest.mark.real("postgresql")
def test_a_query_of_postgresql_waits_during_a_cut(postgresql):
    """A statement that is sent during a cut is executed when it has healed: late, and once."""
    with TcpProxy(postgresql.port) as proxy:
        url = postgresql.url(port=proxy.port)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TEMP TABLE numbers (n int)")
            proxy.cut()
            with pytest.raises(psycopg.errors.ConnectionTimeout):
                psycopg.connect(url, connect_timeout=2)
            with ThreadPoolExecutor(1) as thread:
                insert = thread.submit(connection.execute, "INSERT INTO numbers VALUES (1)")
                with pytest.raises(TimeoutError):
                    insert.result(0.3)
                proxy.heal()
                insert.result(10)
            assert [(1,)] == connection.execute("SELECT n FROM numbers").fetchall()
