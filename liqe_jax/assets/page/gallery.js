new Photographs(document.getElementById("photographs")).add(...JSON.parse(document.getElementById("data").textContent).cards);
