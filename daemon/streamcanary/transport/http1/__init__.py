"""HTTP/1.1 over connections of asyncio, for canaries without a proxy; the messages are parsed by ``h11``."""
