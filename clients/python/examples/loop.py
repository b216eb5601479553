"""The whole loop: ask, correct, train, ask again.

`errata up --min-corrections 1000` serves, `python loop.py 400` runs it. The person who corrects is simulated: it
knows what the embedded model's pictures show.
"""

import sys
import time

from align.scenes.annotator import annotate
from align.scenes.draw import png_bytes
from align.scenes.world import sample_scene
from align.spans import apply_spans

from errata import Errata

client, question = Errata(), "Describe the picture."

for index in range(int(sys.argv[1])):
    scene = sample_scene("honest", "train", 7_000_000 + index)
    reply = client.ask(question, image=png_bytes(scene), temperature=0.7, max_tokens=96, seed=index)
    if wrong := annotate(reply.text, scene):
        reply.correct(apply_spans(reply.text, wrong))

run = client.alignments.create().wait(progress=True)
while run.status == "admitted" and client.adapters.list().in_force.live != run.adapter:
    time.sleep(0.1)

picture = png_bytes(sample_scene("honest", "test", 1))
for model in ("errata-scenes@base", "errata-scenes"):
    reply = client.ask(question, image=picture, temperature=0, model=model)
    print(reply.adapter, reply.text)
