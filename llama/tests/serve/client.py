"""Asks a server by OpenAI's client library. Arguments: address, name of the model, the question as JSON. Prints
what came as JSON. Needs the package `openai`."""

import json
import sys

import openai

address, model, messages = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
client = openai.OpenAI(base_url=f"http://{address}/v1", api_key="none", max_retries=0)
asked = {"model": model, "messages": messages, "temperature": 0, "max_tokens": 12, "user": "a test"}

whole = client.chat.completions.create(**asked)
stream = client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **asked)
pieces, finish, usage = [], None, None
for chunk in stream:
    for choice in chunk.choices:
        pieces.append(choice.delta.content or "")
        finish = choice.finish_reason or finish
    usage = chunk.usage or usage
completion = client.completions.create(model=model, prompt="1 2 3 4 5", temperature=0, max_tokens=6)
# One that is left in the middle.
endless = {**asked, "max_tokens": 500, "extra_body": {"ignore_eos": True}}
with client.chat.completions.create(stream=True, **endless) as left:
    next(iter(left))
try:
    client.chat.completions.create(**asked, n=3)
    refused = None
except openai.BadRequestError as error:
    refused = [error.param, error.body["message"]]

print(json.dumps({
    "models": [one.id for one in client.models.list()],
    "whole": whole.choices[0].message.content,
    "whole_usage": whole.usage.total_tokens,
    "stream": "".join(pieces),
    "finish": finish,
    "usage": usage.total_tokens,
    "completion": completion.choices[0].text,
    "refused": refused,
}))
