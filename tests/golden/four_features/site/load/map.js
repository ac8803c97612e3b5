sitegen.data("map",null);
