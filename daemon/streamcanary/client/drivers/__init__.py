"""Parts that do the I/O of a stream: shared stream code, read deadlines, capture of the SDK's HTTP requests."""
