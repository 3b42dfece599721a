"""What a Beam worker imports: a file is a step of the flow, a folder is a thing."""
