"""The sections of reports: a module and a template each."""
