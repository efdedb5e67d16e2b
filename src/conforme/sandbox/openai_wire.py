"""The two OpenAI protocols on the wire, Responses and Chat Completions: what was asked, and how it is answered.

Tools are part of both: a request offers functions and says whether one must be called; an answer may call several; the
next request brings what each call gave. A call left without its result, or a result of no call, is refused.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

Protocol = Literal["responses", "chat"]


class ProtocolError(ValueError):
    """The request breaks the protocol; the message goes back to the client with status 400."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a function: `arguments` is JSON."""

    name: str
    arguments: str


class Exchange(NamedTuple):
    """A call, and what it gave."""

    call: Call
    output: str


Choice = Literal["auto", "none", "required"]


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
    tools: tuple[Mapping[str, Any], ...] = ()
    """What may be called besides: `{name, description, parameters}` each."""
    choice: Choice = "auto"
    exchanges: tuple[Exchange, ...] = ()
    """What was called before, and what it gave, in order."""

    @property
    def prompt(self) -> str:
        """Everything the provider reads, in the order in which it caches it: tools, schema, instructions, messages."""
        tools = json.dumps(self.tools, ensure_ascii=False) if self.tools else ""
        schema = json.dumps(self.schema, ensure_ascii=False) if self.schema else ""
        return "\n".join([tools + schema, *(text for _, text in self.messages)])


@dataclass(frozen=True, slots=True)
class Answer:
    text: str
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    identifier: str
    kind: Literal["whole", "truncated", "refused"] = "whole"
    calls: tuple[Call, ...] = ()
    """Functions called instead of saying `text`."""


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
    question = read(wanted)
    if not question.messages:
        raise ProtocolError("Missing required parameter: the conversation is empty.")
    choice = _choice(wanted.get("tool_choice"))
    if choice == "required" and not question.tools and question.tool is None:
        raise ProtocolError("Invalid value: 'tool_choice' is only allowed when 'tools' are specified.")
    return Asked(
        protocol=protocol,
        model=wanted["model"],
        messages=tuple(question.messages),
        schema=question.schema,
        tool=question.tool,
        cache_key=str(wanted.get("prompt_cache_key") or ""),
        stream=bool(wanted.get("stream")),
        tools=question.tools,
        choice=choice,
        exchanges=tuple(question.exchanges),
    )


class _Question(NamedTuple):
    messages: list[tuple[str, str]]
    schema: Mapping[str, Any] | None
    tool: str | None
    tools: tuple[Mapping[str, Any], ...]
    exchanges: list[Exchange]


LOOKUPS = frozenset({"searchTranscript", "getTranscriptChunks"})
"""Functions that give something; any other one takes the answer."""


def _choice(wanted: Any) -> Choice:
    if wanted in {"none", "required"}:
        return wanted
    return "required" if isinstance(wanted, dict) else "auto"


def _responses_question(wanted: dict[str, Any]) -> _Question:
    messages = [("system", str(wanted["instructions"]))] if wanted.get("instructions") else []
    given, exchanges = wanted.get("input"), list[Exchange]()
    if isinstance(given, str):
        messages.append(("user", given))
    if isinstance(given, list):
        messages += [(str(item.get("role", "tool")), _content(item)) for item in given]
        calls = [(item.get("call_id"), item) for item in given if item.get("type") == "function_call"]
        outputs = [item for item in given if item.get("type") == "function_call_output"]
        exchanges = _matched(calls, [(item.get("call_id"), _content(item)) for item in outputs])
    functions = [tool for tool in wanted.get("tools") or [] if tool.get("type") == "function"]
    output = wanted.get("text", {}).get("format", {})
    native = _strict(output) if output.get("type") == "json_schema" else None
    return _Question(messages, *_offered(functions, native), exchanges)


def _chat_question(wanted: dict[str, Any]) -> _Question:
    given = wanted.get("messages", [])
    messages = [(str(item.get("role")), _said(item)) for item in given]
    calls = [
        (call.get("id"), call.get("function", {})) for item in given for call in item.get("tool_calls") or []
    ]
    outputs = [(item.get("tool_call_id"), _content(item)) for item in given if item.get("role") == "tool"]
    functions = [tool["function"] for tool in wanted.get("tools") or [] if tool.get("type") == "function"]
    output = wanted.get("response_format", {})
    native = _strict(output.get("json_schema", {})) if output.get("type") == "json_schema" else None
    return _Question(messages, *_offered(functions, native), _matched(calls, outputs))


def _matched(calls: Sequence[tuple[Any, Any]], outputs: Sequence[tuple[Any, str]]) -> list[Exchange]:
    """Each call with its result, in the order of the calls."""
    given = dict(outputs)
    if strange := given.keys() - dict(calls).keys():
        raise ProtocolError(f"No tool call found for function call output with call_id {min(strange)}.")
    if open_calls := [identifier for identifier, _ in calls if identifier not in given]:
        raise ProtocolError(f"No tool output found for function call {open_calls[0]}.")
    return [
        Exchange(Call(str(call.get("name")), str(call.get("arguments") or "{}")), given[identifier])
        for identifier, call in calls
    ]


def _offered(
    functions: Sequence[Mapping[str, Any]], native: Mapping[str, Any] | None
) -> tuple[Mapping[str, Any] | None, str | None, tuple[Mapping[str, Any], ...]]:
    """Schema of the answer, the function that takes it when there is one, and the functions that give something."""
    answering = None
    for function in functions:
        _strict({"schema": function.get("parameters"), "strict": function.get("strict")})
        if native is None and answering is None and function.get("name") not in LOOKUPS:
            answering = function
    lookups = tuple(function for function in functions if function is not answering)
    if native is not None or answering is None:
        return native, None, lookups
    return answering["parameters"], str(answering["name"]), lookups


def _said(item: Mapping[str, Any]) -> str:
    """What a chat message holds, the calls in it included."""
    calls = [str(call.get("function", {}).get("arguments", "")) for call in item.get("tool_calls") or []]
    return "\n".join([_content(item), *calls]) if calls else _content(item)


def _content(item: Mapping[str, Any]) -> str:
    content = item.get("content", item.get("output", item.get("arguments")))
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content)
    return str(content or "")


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
        "output": _output_items(answer),
        "parallel_tool_calls": True,
        "tool_choice": asked.choice,
        "tools": [],
        "usage": {
            "input_tokens": answer.input_tokens,
            "input_tokens_details": {"cached_tokens": answer.cached_tokens, "cache_write_tokens": 0},
            "output_tokens": answer.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": answer.input_tokens + answer.output_tokens,
        },
    }


def _output_items(answer: Answer) -> list[dict[str, Any]]:
    status = "incomplete" if answer.kind == "truncated" else "completed"
    if answer.calls:
        return [
            {
                "type": "function_call",
                "id": f"fc_{answer.identifier}_{number}",
                "call_id": f"call_{answer.identifier}_{number}",
                "name": call.name,
                "arguments": call.arguments,
                "status": status,
            }
            for number, call in enumerate(answer.calls)
        ]
    text = {"type": "output_text", "text": answer.text, "annotations": [], "logprobs": []}
    refusal = {"type": "refusal", "refusal": answer.text}
    return [
        {
            "type": "message",
            "id": f"msg_{answer.identifier}",
            "status": status,
            "role": "assistant",
            "content": [refusal if answer.kind == "refused" else text],
        }
    ]


def _completion(asked: Asked, answer: Answer) -> dict[str, Any]:
    reasons = {"whole": "tool_calls" if answer.calls else "stop", "truncated": "length", "refused": "stop"}
    choice = {
        "index": 0,
        "message": _message(answer),
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


def _message(answer: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    if answer.kind == "refused":
        return message | {"refusal": answer.text}
    if not answer.calls:
        return message | {"content": answer.text}
    calls = [
        {
            "id": f"call_{answer.identifier}_{number}",
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for number, call in enumerate(answer.calls)
    ]
    return message | {"tool_calls": calls}


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
    for index, call in enumerate(choice["message"].get("tool_calls", [])):
        opening = {"index": index, **call, "function": call["function"] | {"arguments": ""}}
        yield chunk({"tool_calls": [opening]})
        for piece in _pieces(call["function"]["arguments"]):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    if not answer.calls:
        field = "refusal" if answer.kind == "refused" else "content"
        for piece in _pieces(answer.text):
            yield chunk({field: piece})
    yield chunk({}, choice["finish_reason"])
    yield base | {"choices": [], "usage": usage}


def _response_events(asked: Asked, answer: Answer) -> Iterator[dict[str, Any]]:
    whole = _response(asked, answer)
    begun = whole | {"status": "in_progress", "output": [], "usage": None}
    yield {"type": "response.created", "response": begun}
    for index, item in enumerate(whole["output"]):
        yield {"type": "response.output_item.added", "output_index": index, "item": _emptied(item)}
        place = {"item_id": item["id"], "output_index": index}
        if item["type"] == "function_call":
            for piece in _pieces(item["arguments"]):
                yield {"type": "response.function_call_arguments.delta", **place, "delta": piece}
            done = {"arguments": item["arguments"], "name": item["name"]}
            yield {"type": "response.function_call_arguments.done", **place, **done}
        else:
            yield from _text_events(item["content"][0], place | {"content_index": 0})
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
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
