"""The studio's page: what it shows and what it asks for. The only room that imports gradio; it computes nothing."""
