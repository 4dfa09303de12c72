"""Values in the wire format of a schema registry: a zero byte, the schema's id in four, then JSON, Avro or Protobuf."""

from __future__ import annotations

import base64
import io
import json
import struct
from collections.abc import Callable, Mapping
from typing import Any

from asgard_assets.errors import ConfigError, SourceError
from asgard_assets.ingest.api.source.sink import Format, TopicSchema
from asgard_assets.ingest.stream.registry import Registered, Registry

_HEAD = struct.Struct(">bI")
_LONGEST_NUMBER = 63
_DEEPEST = 2_000
Decode = Callable[[bytes], Any]
Encode = Callable[[Any], bytes]


class MisfitError(Exception):
    """A value that breaks its schema, or is not in the wire format. The message is the reason."""


class Decoder:
    """Reads values by the schemas that they name. Raises RegistryAway where the registry is silent."""

    def __init__(self, registry: Registry, wanted: Format) -> None:
        self._registry, self._wanted = registry, wanted
        self._known = dict[int, Decode]()

    def document(self, value: bytes) -> Any:
        """The value as JSON has it. Raises MisfitError."""
        if len(value) < _HEAD.size or value[0] != 0:
            raise MisfitError("not in the wire format: no schema id before the value")
        _, number = _HEAD.unpack_from(value)
        if number not in self._known:
            found = self._registry.schema(number)
            if found is None:
                raise MisfitError(f"schema {number} is not in the registry")
            if found.format != self._wanted:
                raise MisfitError(f"schema {number} is {found.format}, and {self._wanted} is declared")
            try:
                self._known[number] = _decode(found, number)
            except Exception as error:  # whoever sends may register: no schema may stop the topic
                raise MisfitError(f"schema {number} cannot be used: {_first_line(error)}") from error
        try:
            return self._known[number](value[_HEAD.size :])
        except MisfitError as error:
            raise MisfitError(f"breaks schema {number}{error}") from error
        except Exception as error:  # each library has errors of its own, and no value may stop the topic
            raise MisfitError(f"breaks schema {number}: {_first_line(error)}") from error


class Encoder:
    """Writes values by one schema, with its id before them."""

    def __init__(self, schema: TopicSchema, number: int) -> None:
        self._head, self._encode = _HEAD.pack(0, number), _encode(schema)

    def value(self, document: Any) -> bytes:
        """Raises MisfitError where the document breaks the schema."""
        try:
            return self._head + self._encode(document)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            raise MisfitError(f"breaks its schema: {str(error)[:200]}") from error


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def _decode(found: Registered, number: int) -> Decode:
    if found.format == "json":
        fits = _json_fits(json.loads(found.text))

        def read_json(value: bytes) -> Any:
            document = json.loads(value)
            fits(document)
            return document

        return read_json
    if found.format == "avro":
        import fastavro
        from fastavro import _read_py

        schema = json.loads(found.text)
        parsed, endless = fastavro.parse_schema(schema), _holds_itself(schema)

        def read_avro(value: bytes) -> Any:
            stream = io.BytesIO(value)
            # A level takes a byte or more. The compiled reader ends the process where they are too many for its stack.
            deep = endless and len(value) > _DEEPEST
            document = (_read_py if deep else fastavro).schemaless_reader(stream, parsed, None)
            if stream.read(1):
                raise MisfitError(": bytes behind its end")
            return document

        return read_avro
    return _Protobuf(found.text, f"schema {number}").decode


def _holds_itself(schema: Any, above: frozenset[str] = frozenset()) -> bool:
    """Whether an Avro record can hold another one of its own kind, and so be nested without end."""
    if isinstance(schema, str):
        return schema.rpartition(".")[2] in above
    if isinstance(schema, list):
        return any(_holds_itself(one, above) for one in schema)
    if not isinstance(schema, dict):
        return False
    inside = (
        above | {str(schema["name"]).rpartition(".")[2]} if "name" in schema and "fields" in schema else above
    )
    held = [schema.get(part) for part in ("type", "items", "values")]
    return any(
        _holds_itself(one, inside) for one in [*held, *(one.get("type") for one in schema.get("fields", ()))]
    )


def _encode(schema: TopicSchema) -> Encode:
    if schema.format == "json":
        fits = _json_fits(json.loads(schema.text))

        def write_json(document: Any) -> bytes:
            fits(document)
            return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()

        return write_json
    if schema.format == "avro":
        import fastavro

        parsed = fastavro.parse_schema(json.loads(schema.text))

        def write_avro(document: Any) -> bytes:
            out = io.BytesIO()
            fastavro.schemaless_writer(out, parsed, document, strict_allow_default=True)
            return out.getvalue()

        return write_avro
    return _Protobuf(schema.text, "kafka_schema").encode


def _json_fits(schema: Any) -> Callable[[Any], None]:
    from jsonschema.validators import validator_for

    kind = validator_for(schema)
    kind.check_schema(schema)
    misfit = json_misfit(kind, schema)

    def fits(document: Any) -> None:
        if reason := misfit(document):
            raise MisfitError(reason)

    return fits


def json_misfit(kind: Any, schema: Any) -> Callable[[Any], str | None]:
    """Says what breaks a JSON Schema first. What a `$ref` names elsewhere is not fetched: nothing fits such a schema."""
    from jsonschema_specifications import REGISTRY
    from referencing.exceptions import Unresolvable

    validator = kind(schema, registry=REGISTRY)

    def misfit(document: Any) -> str | None:
        try:
            error = next(validator.iter_errors(document), None)
        except RecursionError:
            return ": nested too deep for its schema"
        except Unresolvable as missing:
            return f": the schema refers to {missing.ref[:200]}, which is not in it"
        return None if error is None else f" at {error.json_path}: {error.message[:200]}"

    return misfit


class _Protobuf:
    """Messages of one file without imports. In the wire format the numbers before a message say which one it is."""

    def __init__(self, text: str, name: str) -> None:
        from google.protobuf import descriptor_pb2, descriptor_pool
        from google.protobuf.message import DecodeError

        try:
            file = descriptor_pb2.FileDescriptorProto.FromString(base64.b64decode(text, validate=True))
            file.name = file.name or "registered.proto"
            self._file = descriptor_pool.DescriptorPool().AddSerializedFile(file.SerializeToString())
        except (ValueError, DecodeError, TypeError) as error:
            raise ConfigError(
                f"{name}: a Protobuf schema is wanted as base64 of its FileDescriptorProto, in one file without imports "
                f"({str(error)[:100]}). `protoc --descriptor_set_out` makes one"
            ) from error

    def decode(self, value: bytes) -> Any:
        from google.protobuf import json_format
        from google.protobuf.message import DecodeError
        from google.protobuf.message_factory import GetMessageClass

        place, at = _indexes(value)
        kind = list(self._file.message_types_by_name.values())[place[0]]
        for index in place[1:]:
            kind = kind.nested_types[index]
        message = GetMessageClass(kind)()
        try:
            message.ParseFromString(value[at:])
        except DecodeError as error:
            raise MisfitError(f": {error}") from error
        return json_format.MessageToDict(message, preserving_proto_field_name=True)

    def encode(self, document: Any) -> bytes:
        from google.protobuf import json_format
        from google.protobuf.message_factory import GetMessageClass

        first = next(iter(self._file.message_types_by_name.values()))
        message = GetMessageClass(first)()
        try:
            json_format.ParseDict(document, message)
        except json_format.ParseError as error:
            raise ValueError(str(error)) from error
        return b"\x00" + message.SerializeToString(deterministic=True)


def _indexes(value: bytes) -> tuple[list[int], int]:
    """Which message of the file, and where it begins. A single zero stands for the first one."""
    count, at = _zigzag(value, 0)
    if count == 0:
        return [0], at
    if not 0 < count < 16:
        raise MisfitError(": no message number before the value")
    found = list[int]()
    for _ in range(count):
        index, at = _zigzag(value, at)
        found.append(index)
    return found, at


def _zigzag(value: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte, at = value[at], at + 1
        number |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return (number >> 1) ^ -(number & 1), at
        shift += 7
        if shift > _LONGEST_NUMBER:
            raise MisfitError(": no message number before the value")


def plain(document: Any) -> str:
    """What Avro and Protobuf hold, as JSON text: times in ISO 8601, bytes in base64, decimals as text."""
    return json.dumps(document, default=_plain, ensure_ascii=False, separators=(",", ":"))


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return dict(value)
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def problem(registry: Registry, topic: str, schema: TopicSchema) -> str:
    """Why the registry would refuse the schema, or that it cannot be asked; empty where it would take it."""
    try:
        registry.check(topic, schema)
    except (ConfigError, SourceError) as error:
        return error.message
    return ""
