"""The web page of ``hf-vtg app`` (extra ``demo``): a video and sentences in, moments to click out."""
