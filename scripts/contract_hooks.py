"""What Schemathesis has to know of this API beyond its description. See `scripts/contract`."""

import json
import os
import zlib

import schemathesis

# What may end the access of the run itself, or bound it.
ENDS_IT = (
    ("/session", "delete"),
    ("/sessions", "delete"),
    ("/sessions/{session}", "delete"),
    ("/tokens/{token}", "delete"),
    ("/users/{user}", "delete"),
    ("/users/{user}", "patch"),
    ("/me/password", "post"),
    ("/tenants/{tenant}/quotas", "put"),
)

KNOWN = json.loads(os.environ["GRISTMILL_CONTRACT_KNOWN"])


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Leaves out `fields`, with which an answer is a part of the document that is described, and the tenant, which is
    given: any other one is refused, and nothing behind that is reached. What ends the access of those who ask
    is left out, too."""
    left_out = ("fields", "Gristmill-Tenant")
    # How a caller is known is not for generated values: every request would be a stranger's.
    raw_schema.get("components", {}).pop("securitySchemes", None)
    for path in raw_schema["paths"].values():
        for operation in path.values():
            operation.pop("security", None)
            if "parameters" in operation:
                given = operation["parameters"]
                operation["parameters"] = [one for one in given if one.get("name") not in left_out]
            # What is described is one line.
            for response in operation["responses"].values():
                if lines_of := response.get("content", {}).get("application/x-ndjson"):
                    lines_of["schema"] = {"type": "array", "items": lines_of["schema"]}
    for path, method in ENDS_IT:
        del raw_schema["paths"]["/api/v1" + path][method]


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    """Half of what is asked for is there: else hardly any request would get beyond 404."""
    for name, there in KNOWN.items():
        made = str((path_parameters or {}).get(name, ""))
        if made and zlib.crc32(made.encode("utf-8", "surrogatepass")) % 2:
            path_parameters[name] = there
    return path_parameters


def lines(value):
    """JSON lines of a list; of anything else one line."""
    rows = value if isinstance(value, list) else [value]
    return "\n".join(json.dumps(row) for row in rows).encode()


@schemathesis.serializer("application/x-ndjson")
def ndjson(context, value):
    return value if isinstance(value, bytes) else lines(value)


@schemathesis.serializer("application/gzip")
def gzip(context, value):
    packer = zlib.compressobj(wbits=31)
    plain = value if isinstance(value, bytes) else lines(value)
    return packer.compress(plain) + packer.flush()


@schemathesis.deserializer("application/x-ndjson")
def read_ndjson(context, response):
    """A list of its lines."""
    return [json.loads(line) for line in response.content.splitlines()]
