"""Git's merge drivers: how two versions of a file become one."""
