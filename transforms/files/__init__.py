"""Local paths and object stores behind one interface."""
