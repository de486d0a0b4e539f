"""From raw outputs to boxes, masks and pictures: what several families decode with.

boxes.py       the best class of every anchor; non-maximum suppression
prototypes.py  masks as weighted sums of prototype maps
pasting.py     masks from small maps, one over each box
painting.py    small maps straight into the packed words of `Masks`
fusion.py      semantic logits and votes to instances and a panoptic picture: centres.py peaks of heat,
               voting.py the key of every pixel, runs.py a picture as stretches of equal keys
semantics.py   a class for every pixel; objects laid over stuff
pooling.py     embeddings from a feature map, over masks or boxes
"""
