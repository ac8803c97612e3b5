sitegen.data("words/189",{});
