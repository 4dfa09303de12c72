"""What helps to write a project: scaffolds for `dg`, descriptions of fields, "open in editor" links."""
