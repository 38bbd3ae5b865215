def write_graph(*a): raise NotImplementedError
