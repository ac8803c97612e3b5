sitegen.data.map(null);
