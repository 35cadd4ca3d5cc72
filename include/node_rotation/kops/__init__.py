"""kops clusters: what the tags on their Auto Scaling groups say, and the groups found by them."""
