"""The two OpenAI protocols on the wire, Responses and Chat Completions: what was asked, and how it is answered."""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Protocol = Literal["responses", "chat"]


class ProtocolError(ValueError):
    """The request breaks the protocol; the message goes back to the client with status 400."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One question, whichever protocol it came by."""

    protocol: Protocol
    model: str
    messages: tuple[tuple[str, str], ...]
    """Role and text, instructions first, in order."""
    schema: Mapping[str, Any] | None
    """JSON schema of the wanted answer; None wants plain text."""
    tool: str | None
    """The answer is the arguments of a call of this tool."""
    cache_key: str
    stream: bool

    @property
    def prompt(self) -> str:
        """Everything the provider reads, in the order in which it caches it: schema, instructions, messages."""
        schema = json.dumps(self.schema, ensure_ascii=False) if self.schema else ""
        return "\n".join([schema, *(text for _, text in self.messages)])


@dataclass(frozen=True, slots=True)
class Answer:
    text: str
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    identifier: str
    kind: Literal["whole", "truncated", "refused"] = "whole"


# Asking


def asked_of(protocol: Protocol, body: bytes) -> Asked:
    """Reads a request. Raises ProtocolError with what is wrong, as the provider would."""
    try:
        wanted = json.loads(body)
    except ValueError as error:
        raise ProtocolError("We could not parse the JSON body of your request.") from error
    if not isinstance(wanted, dict) or not isinstance(wanted.get("model"), str):
        raise ProtocolError("you must provide a model parameter")
    read = _responses_question if protocol == "responses" else _chat_question
    messages, schema, tool = read(wanted)
    if not messages:
        raise ProtocolError("Missing required parameter: the conversation is empty.")
    return Asked(
        protocol=protocol,
        model=wanted["model"],
        messages=tuple(messages),
        schema=schema,
        tool=tool,
        cache_key=str(wanted.get("prompt_cache_key") or ""),
        stream=bool(wanted.get("stream")),
    )


_Question = tuple[list[tuple[str, str]], Mapping[str, Any] | None, str | None]


def _responses_question(wanted: dict[str, Any]) -> _Question:
    messages = [("system", str(wanted["instructions"]))] if wanted.get("instructions") else []
    given = wanted.get("input")
    if isinstance(given, str):
        messages.append(("user", given))
    if isinstance(given, list):
        messages += [(str(item.get("role", "tool")), _content(item)) for item in given]
    output = wanted.get("text", {}).get("format", {})
    if output.get("type") == "json_schema":
        return messages, _strict(output), None
    tool = next((tool for tool in wanted.get("tools", []) if tool.get("type") == "function"), None)
    return messages, *_of_tool(tool)


def _chat_question(wanted: dict[str, Any]) -> _Question:
    messages = [(str(item.get("role")), _content(item)) for item in wanted.get("messages", [])]
    output = wanted.get("response_format", {})
    if output.get("type") == "json_schema":
        return messages, _strict(output.get("json_schema", {})), None
    tool = next(
        (tool["function"] for tool in wanted.get("tools", []) if tool.get("type") == "function"), None
    )
    return messages, *_of_tool(tool)


def _content(item: Mapping[str, Any]) -> str:
    content = item.get("content", item.get("output", item.get("arguments")))
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content)
    return str(content or "")


def _of_tool(tool: Mapping[str, Any] | None) -> tuple[Mapping[str, Any] | None, str | None]:
    if tool is None:
        return None, None
    return _strict({"schema": tool.get("parameters"), "strict": tool.get("strict")}), str(tool["name"])


def _strict(wanted: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema; a strict one is refused when it leaves a property optional or open, as the provider does."""
    schema = wanted.get("schema")
    if not isinstance(schema, dict):
        raise ProtocolError("Missing required parameter: 'schema'.")
    if wanted.get("strict"):
        for each in _objects(schema):
            if each.get("additionalProperties") is not False:
                raise ProtocolError(
                    "Invalid schema: 'additionalProperties' is required to be supplied and to be false."
                )
            if set(each.get("required", [])) != set(each.get("properties", {})):
                raise ProtocolError("Invalid schema: 'required' must include every key in properties.")
    return schema


def _objects(schema: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield schema
        for inner in schema.values():
            yield from _objects(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from _objects(inner)


# Answering


def rendered(asked: Asked, answer: Answer) -> dict[str, Any]:
    """The body of a complete, non-streamed answer."""
    return _response(asked, answer) if asked.protocol == "responses" else _completion(asked, answer)


def _response(asked: Asked, answer: Answer) -> dict[str, Any]:
    truncated = answer.kind == "truncated"
    return {
        "id": f"resp_{answer.identifier}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "incomplete" if truncated else "completed",
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if truncated else None,
        "instructions": None,
        "model": asked.model,
        "output": [_output_item(asked, answer)],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": answer.input_tokens,
            "input_tokens_details": {"cached_tokens": answer.cached_tokens, "cache_write_tokens": 0},
            "output_tokens": answer.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": answer.input_tokens + answer.output_tokens,
        },
    }


def _output_item(asked: Asked, answer: Answer) -> dict[str, Any]:
    status = "incomplete" if answer.kind == "truncated" else "completed"
    if asked.tool and answer.kind != "refused":
        return {
            "type": "function_call",
            "id": f"fc_{answer.identifier}",
            "call_id": f"call_{answer.identifier}",
            "name": asked.tool,
            "arguments": answer.text,
            "status": status,
        }
    text = {"type": "output_text", "text": answer.text, "annotations": [], "logprobs": []}
    refusal = {"type": "refusal", "refusal": answer.text}
    return {
        "type": "message",
        "id": f"msg_{answer.identifier}",
        "status": status,
        "role": "assistant",
        "content": [refusal if answer.kind == "refused" else text],
    }


def _completion(asked: Asked, answer: Answer) -> dict[str, Any]:
    reasons = {"whole": "tool_calls" if asked.tool else "stop", "truncated": "length", "refused": "stop"}
    choice = {
        "index": 0,
        "message": _message(asked, answer),
        "logprobs": None,
        "finish_reason": reasons[answer.kind],
    }
    return {
        "id": f"chatcmpl-{answer.identifier}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": asked.model,
        "choices": [choice],
        "usage": {
            "prompt_tokens": answer.input_tokens,
            "prompt_tokens_details": {"cached_tokens": answer.cached_tokens},
            "completion_tokens": answer.output_tokens,
            "completion_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": answer.input_tokens + answer.output_tokens,
        },
    }


def _message(asked: Asked, answer: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    if answer.kind == "refused":
        return message | {"refusal": answer.text}
    if not asked.tool:
        return message | {"content": answer.text}
    call = {"name": asked.tool, "arguments": answer.text}
    return message | {
        "tool_calls": [{"id": f"call_{answer.identifier}", "type": "function", "function": call}]
    }


# Streaming


def streamed(asked: Asked, answer: Answer) -> str:
    """The same answer as server-sent events."""
    if asked.protocol == "chat":
        lines = [f"data: {json.dumps(chunk, ensure_ascii=False)}" for chunk in _chat_chunks(asked, answer)]
        return "\n\n".join([*lines, "data: [DONE]", ""])
    events = [
        event | {"sequence_number": number} for number, event in enumerate(_response_events(asked, answer))
    ]
    lines = [f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}" for event in events]
    return "\n\n".join([*lines, ""])


def _pieces(text: str, length: int = 80) -> Iterator[str]:
    for start in range(0, len(text), length):
        yield text[start : start + length]


def _chat_chunks(asked: Asked, answer: Answer) -> Iterator[dict[str, Any]]:
    whole = _completion(asked, answer)
    usage, choice = whole.pop("usage"), whole.pop("choices")[0]
    base = whole | {"object": "chat.completion.chunk"}

    def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        return base | {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}], "usage": None}

    yield chunk({"role": "assistant"})
    if asked.tool and answer.kind != "refused":
        call = choice["message"]["tool_calls"][0]
        yield chunk({"tool_calls": [{"index": 0, **call, "function": call["function"] | {"arguments": ""}}]})
        for piece in _pieces(answer.text):
            yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
    else:
        field = "refusal" if answer.kind == "refused" else "content"
        for piece in _pieces(answer.text):
            yield chunk({field: piece})
    yield chunk({}, choice["finish_reason"])
    yield base | {"choices": [], "usage": usage}


def _response_events(asked: Asked, answer: Answer) -> Iterator[dict[str, Any]]:
    whole = _response(asked, answer)
    item = whole["output"][0]
    begun = whole | {"status": "in_progress", "output": [], "usage": None}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.output_item.added", "output_index": 0, "item": _emptied(item)}
    place = {"item_id": item["id"], "output_index": 0}
    if item["type"] == "function_call":
        for piece in _pieces(answer.text):
            yield {"type": "response.function_call_arguments.delta", **place, "delta": piece}
        yield {"type": "response.function_call_arguments.done", **place, "arguments": answer.text}
    else:
        yield from _text_events(item["content"][0], place | {"content_index": 0})
    yield {"type": "response.output_item.done", "output_index": 0, "item": item}
    ending = "response.incomplete" if answer.kind == "truncated" else "response.completed"
    yield {"type": ending, "response": whole}


def _text_events(part: dict[str, Any], place: dict[str, Any]) -> Iterator[dict[str, Any]]:
    refused = part["type"] == "refusal"
    kind, field = ("refusal", "refusal") if refused else ("output_text", "text")
    extra = {} if refused else {"logprobs": []}
    yield {"type": "response.content_part.added", **place, "part": part | {field: ""}}
    for piece in _pieces(part[field]):
        yield {"type": f"response.{kind}.delta", **place, "delta": piece, **extra}
    yield {"type": f"response.{kind}.done", **place, field: part[field], **extra}
    yield {"type": "response.content_part.done", **place, "part": part}


def _emptied(item: dict[str, Any]) -> dict[str, Any]:
    nothing: dict[str, Any] = {"arguments": ""} if item["type"] == "function_call" else {"content": []}
    return item | {"status": "in_progress"} | nothing
