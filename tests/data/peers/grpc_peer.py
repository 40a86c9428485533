"""A gRPC server and client of the public library, on bytes: no .proto, so nothing has to be generated.

    grpc_peer.py serve            prints "port N", serves /test.Echo/*
    grpc_peer.py call PORT KEY    calls them through PORT, prints a line of JSON for each call
"""

import json
import sys
from concurrent import futures

import grpc


def unary(request, context):
    seen = dict(context.invocation_metadata())
    context.send_initial_metadata((("x-initial", "sent"),))
    context.set_trailing_metadata((("x-trailing", "sent"), ("x-bin-bin", b"\x00\xff")))
    if request == b"abort":
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now: 100% \u00e4")
    if request == b"identity":
        keys = ("x-keygate-key-name", "x-keygate-scope", "apikey")
        return json.dumps({key: seen.get(key) for key in keys}).encode()
    return request[::-1]


def down(request, context):
    for n in range(int(request)):
        yield b"%d" % n


def up(requests, context):
    return b"%d" % sum(len(request) for request in requests)


def both(requests, context):
    for request in requests:
        yield request.upper()


class Echo(grpc.GenericRpcHandler):
    def service(self, call):
        return {
            "/test.Echo/Unary": grpc.unary_unary_rpc_method_handler(unary),
            "/test.Echo/Down": grpc.unary_stream_rpc_method_handler(down),
            "/test.Echo/Up": grpc.stream_unary_rpc_method_handler(up),
            "/test.Echo/Both": grpc.stream_stream_rpc_method_handler(both),
        }.get(call.method)


def serve():
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    server.add_generic_rpc_handlers((Echo(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print("port", port, flush=True)
    server.wait_for_termination()


def call(port, key):
    options = [("grpc.enable_retries", 0)]
    channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=options)
    metadata = (("apikey", key),)

    def tell(name, run):
        try:
            told = {"ok": run()}
        except grpc.RpcError as error:
            told = {"status": error.code().name, "details": error.details()}
        print(json.dumps({"call": name, **told}), flush=True)

    def invoke_unary(request, metadata, method="/test.Echo/Unary"):
        answer, rpc = channel.unary_unary(method).with_call(request, metadata=metadata, timeout=20)
        trailing = {k: v if isinstance(v, str) else repr(v) for k, v in rpc.trailing_metadata()}
        return {
            "text": answer.decode(),
            "initial": dict(rpc.initial_metadata()).get("x-initial"),
            "trailing": trailing.get("x-trailing"),
            "binary": trailing.get("x-bin-bin"),
        }

    def lockstep():
        # A message is sent when the answer to the one before has come.
        import queue

        sent = queue.Queue(1)
        answers = channel.stream_stream("/test.Echo/Both")(iter(sent.get, None), metadata=metadata, timeout=20)
        got = []
        for n in range(20):
            sent.put(b"message %d" % n)
            got.append(next(answers).decode())
        sent.put(None)
        assert list(answers) == []
        return [got[0], got[-1], len(got)]

    tell("unary", lambda: invoke_unary(b"hello", metadata))
    tell("identity", lambda: json.loads(invoke_unary(b"identity", metadata)["text"]))
    tell("large", lambda: len(invoke_unary(b"x" * 3_000_000, metadata)["text"]))
    tell("abort", lambda: invoke_unary(b"abort", metadata))
    tell("unimplemented", lambda: invoke_unary(b"x", metadata, "/test.Echo/Nothing"))
    tell("down", lambda: len(list(channel.unary_stream("/test.Echo/Down")(b"500", metadata=metadata, timeout=20))))
    messages = (b"x" * 1000 for _ in range(500))
    tell("up", lambda: channel.stream_unary("/test.Echo/Up")(messages, metadata=metadata, timeout=20).decode())
    tell("both", lockstep)
    tell("no key", lambda: invoke_unary(b"hello", ()))
    tell("wrong key", lambda: invoke_unary(b"hello", (("apikey", "0" * 40),)))
    tell("no route", lambda: invoke_unary(b"hello", metadata, "/other.Service/Call"))
    tell("denied", lambda: invoke_unary(b"hello", metadata, "/test.Closed/Call"))
    tell("again", lambda: invoke_unary(b"hello", metadata))


if sys.argv[1] == "serve":
    serve()
else:
    call(sys.argv[2], sys.argv[3])
