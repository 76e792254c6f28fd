"""The controller inside other libraries' training loops, a file each."""
