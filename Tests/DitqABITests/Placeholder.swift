import CDitq
