"""Each stage has a folder. Every file below it becomes assets."""
