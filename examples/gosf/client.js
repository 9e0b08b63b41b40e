/* global io, url */
const socket = io.connect(url, { transports: ['websocket'] })

// Without an acknowledgement the answer comes as an event.
socket.on('echo', function (response) {
  console.log('event:', response)
})

socket.emit('echo', { text: 'Hello world.' }, function (response) {
  console.log('acknowledged:', response)
})
